"""Ranges of values that enter from files: what is outside is a mistake, or meant to break whoever reads it."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from worldtune.core.values import bad_character

SLOWEST = 0.001  # frames a second: what a video file can state
FASTEST = 1000.0  # frames a second: more than any camera's
LARGEST_ALPHA = 1e6

Written = TypeVar("Written", str, Path)


def _sound(text: Written) -> Written:
    """The text or path. Raises ValueError when no file can hold it."""
    if fault := bad_character(str(text)):
        raise ValueError(f"it holds {fault}")
    return text


Fps = Annotated[float, Field(ge=SLOWEST, le=FASTEST)]
Frames = Annotated[int, Field(ge=1, le=1_000_000)]
Side = Annotated[int, Field(ge=1, le=32_768)]  # pixels
Rank = Annotated[int, Field(ge=1, le=65_536)]  # more than any layer's width
Alpha = Annotated[float, Field(gt=0, le=LARGEST_ALPHA)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Text = Annotated[str, AfterValidator(_sound)]
SoundPath = Annotated[Path, AfterValidator(_sound)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
