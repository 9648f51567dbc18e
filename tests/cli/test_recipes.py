from pathlib import Path

import pytest
import yaml

from worldtune.cli.recipes import find_recipe, recipe_folder
from worldtune.strict import parse
from worldtune.training.recipe import Recipe

from .in_process import Verb, in_process

__all__ = ["in_process"]

READY = sorted(path.stem for path in recipe_folder().glob("*.yaml"))


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


def test_an_unknown_recipe_names_the_nearest(in_process: Verb) -> None:
    done = in_process("recipes", "pocket-new-veiw")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: no such recipe: 'pocket-new-veiw' [worldtune recipes]. Did you mean 'pocket-new-view'?"
    ]


def test_a_recipe_of_ones_own_is_found_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text((recipe_folder() / "pocket-new-view.yaml").read_text())
    assert find_recipe(str(tmp_path / "mine.yaml"), ["name=mine"]).name == "mine"
