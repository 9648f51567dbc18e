"""`worldtune recipes`: list or print the ready recipes."""

from typing import Annotated

import typer

from worldtune.cli.terminal.output import echo, echo_text
from worldtune.training.shipped_recipes import recipe_folder, recipe_names, shipped_recipe


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe's YAML.")] = None,
) -> None:
    """List the ready recipes, or print one.

    A printed recipe is a starting point for your own.

    Example:

        worldtune recipes pocket-new-view > my-robot.yaml
    """
    if name is not None:
        echo_text(shipped_recipe(name).read_text(), end="")
        return
    width = max(map(len, recipe_names())) + 2
    for path in sorted(recipe_folder().glob("*.yaml")):
        first_line = path.read_text().splitlines()[0].removeprefix("# ")
        echo(f"{path.stem:<{width}}{first_line}")
