import re
from pathlib import Path

import pytest
import torch
import yaml

from worldtune.cli.recipes import find_recipe, recipe_folder
from worldtune.planning.blank import blank_denoiser, blank_world, with_layers
from worldtune.planning.meter import without_data
from worldtune.planning.training import known_base
from worldtune.strict import parse
from worldtune.training.data import refuse_unfit
from worldtune.training.recipe import Recipe

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]

READY = sorted(path.stem for path in recipe_folder().glob("*.yaml"))
OF_REAL_BASES = [name for name in READY if not name.startswith("pocket")]
PLANNED = re.compile(r"for (\d+) GB: ([\d.]+) GiB at most,\s(?:# )?(as it is|with .+?)[.;]\s")


def test_every_ready_recipe_has_its_line(in_process: Verb) -> None:
    done = in_process("recipes")
    assert done.code == 0
    lines = [line.split(maxsplit=1) for line in done.out.splitlines()]
    assert [name for name, _ in lines] == READY
    assert all(text.endswith(".") for _, text in lines)
    assert {"pocket-new-task", "pocket-new-view"} <= set(READY)


@pytest.mark.parametrize("name", READY)
def test_a_printed_recipe_is_a_recipe(in_process: Verb, name: str) -> None:
    done = in_process("recipes", name)
    assert done.code == 0
    assert parse(Recipe, yaml.safe_load(done.out), name) == find_recipe(name, [])


@pytest.mark.parametrize("name", OF_REAL_BASES)
def test_a_recipe_of_a_real_base_is_one_that_the_base_can_be_trained_by(name: str) -> None:
    recipe = find_recipe(name, [])
    base = known_base(recipe.base)
    with without_data():
        world = blank_world(base, blank_denoiser(with_layers(base, 1), torch.bfloat16))
    for dataset, spec in recipe.datasets.items():
        world.check_size(spec.frames, spec.height, spec.width, dataset)
    refuse_unfit(recipe, base)
    assert recipe.data.held_out > 0, "or nothing is proved"


@pytest.mark.parametrize("name", OF_REAL_BASES)
def test_a_recipe_s_plan_is_of_its_own_machine(name: str) -> None:
    machine = find_recipe(name, []).machine.model_dump(mode="json", exclude_defaults=True, exclude={"shard_base"})
    settings = " ".join(f"machine.{key}={str(value).lower()}" for key, value in machine.items())
    ((card, most, way),) = PLANNED.findall((recipe_folder() / f"{name}.yaml").read_text())
    assert way == (f"with {settings}" if settings else "as it is")
    assert float(most) <= int(card) - 1


@pytest.mark.parametrize("name", OF_REAL_BASES)
def test_a_recipe_whose_data_were_not_put_in_says_so(in_process: Verb, name: str) -> None:
    path = find_recipe(name, []).data.path
    hub = f", or hf:{path} for the Hugging Face Hub's" if path.count("/") == 1 else ""
    line = f"error: the data folder does not exist [{path}]. Name the folder that holds meta/ or videos/{hub}."
    assert fault(in_process, "check", name) == line


def test_an_unknown_recipe_names_the_nearest(in_process: Verb) -> None:
    done = in_process("recipes", "pocket-new-veiw")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: no such recipe: 'pocket-new-veiw' [worldtune recipes]. Did you mean 'pocket-new-view'?"
    ]


def test_a_recipe_of_ones_own_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text((recipe_folder() / "pocket-new-view.yaml").read_text())
    assert find_recipe(str(tmp_path / "mine.yaml"), ["name=mine"]).name == "mine"
