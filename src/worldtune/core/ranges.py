"""Allowed ranges of values from files; other values are mistakes or attacks."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from worldtune.core.value_limits import find_bad_character

MIN_FPS = 0.001  # frames per second: the least that a video file can hold
MAX_FPS = 1000.0  # frames per second: more than any camera has
MAX_ALPHA = 1e6

StrOrPath = TypeVar("StrOrPath", str, Path)


def _check_characters(text: StrOrPath) -> StrOrPath:
    """Return the text or path. Raise ValueError if it has a character that no file can hold."""
    if fault := find_bad_character(str(text)):
        raise ValueError(f"the text has {fault}")
    return text


Fps = Annotated[float, Field(ge=MIN_FPS, le=MAX_FPS)]
Frames = Annotated[int, Field(ge=1, le=1_000_000)]
PixelSize = Annotated[int, Field(ge=1, le=32_768)]  # pixels
Rank = Annotated[int, Field(ge=1, le=65_536)]  # more than any layer's width
Alpha = Annotated[float, Field(gt=0, le=MAX_ALPHA)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
SafeText = Annotated[str, AfterValidator(_check_characters)]
SafePath = Annotated[Path, AfterValidator(_check_characters)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
