"""The sizes of clips that a base can make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldtune.errors import RecipeError
from worldtune.models.catalog import BY_NAME
from worldtune.models.model_config import read_config
from worldtune.models.vae.shapes import SPATIAL, TEMPORAL


def check_size(config: Mapping[str, Any], name: str, frames: int, height: int, width: int, where: str) -> None:
    """Raise RecipeError unless a base whose denoiser has this `config` can make clips of this size."""
    steps = (TEMPORAL, SPATIAL * config["patch_size"][1], SPATIAL * config["patch_size"][2])
    if min(frames, height, width) < 1 or (frames - 1) % steps[0] or height % steps[1] or width % steps[2]:
        what = f"{frames} frames of {height}×{width}: frames must be 1 + {steps[0]}n, height and width multiples of "
        raise RecipeError(f"{what}{steps[1]}", where=where, hint="Change the size.")
    most = config["max_size"]
    limits = (1 + TEMPORAL * (most[0] - 1), SPATIAL * most[1], SPATIAL * most[2])
    if frames > limits[0] or height > limits[1] or width > limits[2]:
        what = f"{frames} frames of {height}×{width} are more than {name} can make: {limits[0]} of "
        raise RecipeError(f"{what}{limits[1]}×{limits[2]}", where=where, hint="Change the size.")


def config_of(base: str) -> Mapping[str, Any] | None:
    """Return the denoiser's config of a catalog base or a local folder, without reading weights; None for others."""
    known = BY_NAME.get(base.partition("=")[0])
    if known is not None:
        return known.architecture.config()
    file = Path(base.partition("+")[0]) / "transformer" / "config.json"
    return read_config(file) if file.is_file() else None
