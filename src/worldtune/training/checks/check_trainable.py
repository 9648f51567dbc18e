"""Check that a kind of base can be trained by a recipe. This needs neither weights nor clips."""

from typing import TYPE_CHECKING

from worldtune.diffusion.conditioning import MODES
from worldtune.errors import RecipeError
from worldtune.models.catalog import KnownBase
from worldtune.models.vae.shapes import TEMPORAL
from worldtune.training.recipe import Recipe

if TYPE_CHECKING:
    from worldtune.models.world import WorldCard


def check_trainable(recipe: Recipe, base: "WorldCard | KnownBase") -> None:
    """Raise RecipeError if a base of this kind cannot be trained by the recipe."""
    if base.schedule.kind == "distilled":
        raise RecipeError(
            "a distilled base cannot be trained: tuning would break the match between its few steps",
            where=recipe.base,
            hint="Train on the pre-trained or post-trained base.",
        )
    for name, spec in recipe.datasets.items():
        _check_something_to_learn(recipe, spec.frames, name)
    if base.min_known_latents and recipe.train.modes.get("text2world", 0) > 0:
        what = "train.modes has text2world, but this base always needs an input image"
        raise RecipeError(what, where=recipe.base, hint="Write train.modes={image2world: 0.5, video2world: 0.5}.")


def _check_something_to_learn(recipe: Recipe, frames: int, name: str) -> None:
    """Raise RecipeError if a mode gives all frames of a clip as input: its loss would always be zero."""
    used = {mode for mode, probability in recipe.train.modes.items() if probability > 0} | set(recipe.check.modes)
    for k, mode in MODES.items():
        if mode in used and frames <= 1 + TEMPORAL * (k - 1):
            raise RecipeError(
                f"{mode} gives all {frames} frames of a clip as input: nothing is left to learn",
                where=name,
                hint=f"Use {1 + TEMPORAL * k + TEMPORAL} frames or more, or remove {mode} from train.modes and "
                "validate.modes.",
            )
