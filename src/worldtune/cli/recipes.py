"""`worldtune recipes`: the ready recipes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worldtune.cli.output import echo, echo_text

if TYPE_CHECKING:
    from worldtune.training.recipe import Recipe


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe's YAML.")] = None,
) -> None:
    """List the ready recipes, or print one.

    A printed recipe is a starting point for your own.

    Example:

        worldtune recipes pocket-new-view > my-robot.yaml
    """
    if name is not None:
        echo_text(_ready(name).read_text(), end="")
        return
    width = max(map(len, recipe_names())) + 2
    for path in sorted(recipe_folder().glob("*.yaml")):
        first_line = path.read_text().splitlines()[0].removeprefix("# ")
        echo(f"{path.stem:<{width}}{first_line}")


def _ready(name: str) -> Path:
    """The file of a ready recipe. Raises RecipeError when there is none of that name."""
    from worldtune.errors import RecipeError, did_you_mean

    names = recipe_names()
    if name not in names:
        mend = did_you_mean(name, names, f"The ready recipes are {', '.join(names)}.")
        raise RecipeError(f"no such recipe: '{name}'", where="worldtune recipes", mend=mend)
    return recipe_folder() / f"{name}.yaml"


def recipe_folder() -> Path:
    """Where the package keeps its recipes."""
    from importlib.resources import files

    return Path(str(files("worldtune"))) / "recipes"


def recipe_names() -> list[str]:
    """The ready recipes."""
    return [path.stem for path in sorted(recipe_folder().glob("*.yaml"))]


def find_recipe(name: str, overrides: list[str]) -> "Recipe":
    """The recipe of a name or file. Raises RecipeError as `load_recipe` does, and for a misspelt name."""
    from worldtune.training.recipe import load_recipe

    path = Path(name)
    if name in recipe_names() or not (path.suffix in (".yaml", ".yml") or path.parent.name or path.exists()):
        path = _ready(name)
    return load_recipe(path, overrides)
