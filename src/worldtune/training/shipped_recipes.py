"""The recipes that ship with the package. Imports nothing large, so that `worldtune recipes` answers at once."""

from importlib.resources import files
from pathlib import Path

from worldtune.errors import RecipeError, did_you_mean


def recipe_folder() -> Path:
    """Return the folder of the shipped recipes."""
    return Path(str(files("worldtune"))) / "recipes"


def recipe_names() -> list[str]:
    """Return the names of the shipped recipes, sorted."""
    return [path.stem for path in sorted(recipe_folder().glob("*.yaml"))]


def shipped_recipe(name: str) -> Path:
    """Return the file of a shipped recipe. Raise RecipeError with the nearest name if the name is unknown."""
    names = recipe_names()
    if name not in names:
        hint = did_you_mean(name, names, f"The ready recipes are {', '.join(names)}.")
        raise RecipeError(f"no such recipe: '{name}'", where="worldtune recipes", hint=hint)
    return recipe_folder() / f"{name}.yaml"


def recipe_path(name: str | Path) -> Path:
    """Return the file of a recipe that is named by a shipped recipe's name or a path.

    Raise RecipeError for a name that is neither a shipped recipe nor a path.
    """
    path = Path(name)
    if str(name) in recipe_names() or not (path.suffix in (".yaml", ".yml") or path.parent.name or path.exists()):
        return shipped_recipe(str(name))
    return path
