"""Ranges of values that enter from files: what is outside is a mistake, or meant to break whoever reads it."""

from typing import Annotated

from pydantic import Field

SLOWEST = 0.001  # frames a second: what a video file can state
FASTEST = 1000.0  # frames a second: more than any camera's
LARGEST_ALPHA = 1e6

Fps = Annotated[float, Field(ge=SLOWEST, le=FASTEST)]
Frames = Annotated[int, Field(ge=1, le=1_000_000)]
Side = Annotated[int, Field(ge=1, le=32_768)]  # pixels
Rank = Annotated[int, Field(ge=1, le=65_536)]  # more than any layer's width
Alpha = Annotated[float, Field(gt=0, le=LARGEST_ALPHA)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
