"""Changed copies of training clips: a small crop and other colours, drawn once from the seed and then fixed.

Shapes: T frames, H height, W width. The colour change is a gain, an offset and a saturation, alike for all frames of
a clip: a camera's exposure and white balance, not a flicker.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator

from worldtune.seeds import seed_of
from worldtune.strict import Strict

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class Augment(Strict):
    """`copies` changed copies of each training clip: colours by up to `colour`, a crop of at least `crop` of a side."""

    copies: int = Field(0, ge=0)
    colour: float = Field(0.15, ge=0, lt=1)
    crop: float = Field(0.95, gt=0.5, le=1)

    @model_validator(mode="after")
    def _a_copy_is_another(self) -> "Augment":
        if self.copies and self.colour == 0 and self.crop == 1:
            raise ValueError("copies of colour 0 and crop 1 are not changed: leave copies out")
        return self


@dataclass(frozen=True)
class Change:
    """What is done to a clip's frames. `copy` counts from 1; gains are of red, green and blue, the offset in [−1, 1].

    The crop's sides and its place are shares of the picture's sides and of the room that is left.
    """

    copy: int = 0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    saturation: float = 1.0
    side: float = 1.0
    top: float = 0.5
    left: float = 0.5

    def crop_frame(self, frame_HWC: np.ndarray) -> np.ndarray:
        """The part of the picture that is kept."""
        if self.side == 1:
            return frame_HWC
        H, W = frame_HWC.shape[:2]
        height, width = round(H * self.side), round(W * self.side)
        top, left = round((H - height) * self.top), round((W - width) * self.left)
        return frame_HWC[top : top + height, left : left + width]

    def colour(self, frames_THWC: np.ndarray) -> np.ndarray:
        """uint8 pictures in other colours."""
        if (self.gains, self.offset, self.saturation) == ((1.0, 1.0, 1.0), 0.0, 1.0):
            return frames_THWC
        light = frames_THWC.astype(np.float32)
        grey = (light @ LUMA)[..., None]
        tinted = (grey + self.saturation * (light - grey)) * np.asarray(self.gains, np.float32) + 255 * self.offset
        return np.clip(np.rint(tinted), 0, 255).astype(np.uint8)

    def __str__(self) -> str:
        gains = "/".join(f"{gain:.2f}" for gain in self.gains)
        colours = f"gains {gains}, offset {self.offset:+.2f}, saturation {self.saturation:.2f}"
        return f"changed copy {self.copy}: {colours}, crop {self.side:.3f}"


NO_CHANGE = Change()


def changes(augment: Augment, name: str, seed: int) -> list[Change]:
    """The changed copies of the clip of that name, the same for the same seed."""
    return [_draw(augment, number, seed_of(seed, "augment", name, number)) for number in range(1, augment.copies + 1)]


def _draw(augment: Augment, copy: int, seed: int) -> Change:
    draw = np.random.default_rng(seed).uniform
    most = augment.colour
    gain, tints = draw(-most * 2 / 3, most * 2 / 3), draw(-most / 3, most / 3, 3)
    return Change(
        copy=copy,
        gains=tuple(round(float(1 + gain + tint), 4) for tint in tints),  # type: ignore[arg-type]
        offset=round(float(draw(-most, most)) / 3, 4),
        saturation=round(float(1 + draw(-most, most)), 4),
        side=round(float(draw(augment.crop, 1)), 4),
        top=round(float(draw(0, 1)), 4),
        left=round(float(draw(0, 1)), 4),
    )
