import re
from pathlib import Path

import pytest
import torch
import yaml

from worldtune.core.settings import parse_model
from worldtune.planning.bases import known_base
from worldtune.planning.memory_tracker import without_data
from worldtune.planning.meta_models import meta_denoiser, meta_world, with_layers
from worldtune.training.checks.check_trainable import check_trainable
from worldtune.training.recipe import Recipe, find_recipe
from worldtune.training.shipped_recipes import recipe_folder

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]

READY = [path.stem for path in sorted(recipe_folder().glob("*.yaml"))]
OF_REAL_BASES = [name for name in READY if not name.startswith("pocket")]
PLANNED = re.compile(r"for (\d+) GB: ([\d.]+) GiB at most,\s(?:# )?(as it is|with .+?)[.;]\s")


def test_every_ready_recipe_is_listed(in_process: Verb) -> None:
    done = in_process("recipes")
    assert done.code == 0
    lines = [line.split(maxsplit=1) for line in done.out.splitlines()]
    assert [name for name, _ in lines] == READY
    assert all(text.endswith(".") for _, text in lines)
    assert {"pocket-new-task", "pocket-new-view"} <= set(READY)


@pytest.mark.parametrize("name", READY)
def test_printed_recipe_can_be_loaded(in_process: Verb, name: str) -> None:
    done = in_process("recipes", name)
    assert done.code == 0
    assert parse_model(Recipe, yaml.safe_load(done.out), name) == find_recipe(name, [])


@pytest.mark.parametrize("name", OF_REAL_BASES)
def test_ready_recipe_can_train_its_base(name: str) -> None:
    recipe = find_recipe(name, [])
    base = known_base(recipe.base)
    with without_data():
        world = meta_world(base, meta_denoiser(with_layers(base, 1), torch.bfloat16))
    for dataset, spec in recipe.datasets.items():
        world.check_size(spec.frames, spec.height, spec.width, dataset)
    check_trainable(recipe, base)
    assert recipe.data.held_out > 0, "evaluation needs held-out clips"


@pytest.mark.parametrize("name", OF_REAL_BASES)
def test_plan_in_the_comment_is_for_the_recipes_machine(name: str) -> None:
    machine = find_recipe(name, []).machine.model_dump(mode="json", exclude_defaults=True, exclude={"shard_base"})
    settings = " ".join(f"machine.{key}={str(value).lower()}" for key, value in machine.items())
    ((card, most, way),) = PLANNED.findall((recipe_folder() / f"{name}.yaml").read_text())
    assert way == (f"with {settings}" if settings else "as it is")
    assert float(most) <= int(card) - 1


@pytest.mark.parametrize("name", OF_REAL_BASES)
def test_recipe_with_placeholder_data_is_reported(in_process: Verb, name: str) -> None:
    path = find_recipe(name, []).data.path
    hub = f", or hf:{path} for a dataset of the Hugging Face Hub" if path.count("/") == 1 else ""
    line = f"error: the data folder does not exist [{path}]. Specify the folder that holds meta/ or videos/{hub}."
    assert fault(in_process, "check", name) == line


def test_unknown_recipe_suggests_the_closest(in_process: Verb) -> None:
    done = in_process("recipes", "pocket-new-veiw")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: no such recipe: 'pocket-new-veiw' [worldtune recipes]. Did you mean 'pocket-new-view'?"
    ]


def test_own_recipe_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text((recipe_folder() / "pocket-new-view.yaml").read_text())
    assert find_recipe(str(tmp_path / "mine.yaml"), ["name=mine"]).name == "mine"
