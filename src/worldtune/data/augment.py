"""Augmentation: copies of training clips with a small crop and other colors, drawn once from the seed and then fixed.

Shapes: T frames, H height, W width. The color change is a gain, an offset and a saturation, the same for all frames
of a clip: it models a camera's exposure and white balance, not a flicker.
"""

from dataclasses import dataclass

import numpy as np
from pydantic import Field, model_validator

from worldtune.core.seeds import derive_seed
from worldtune.core.settings import StrictModel

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class AugmentationSpec(StrictModel):
    """`copies` augmented copies of each training clip: colors change by up to `color`, crops keep at least `crop`."""

    copies: int = Field(0, ge=0)
    color: float = Field(0.15, ge=0, lt=1)
    crop: float = Field(0.95, gt=0.5, le=1)

    @model_validator(mode="after")
    def _check_copies_differ(self) -> "AugmentationSpec":
        if self.copies and self.color == 0 and self.crop == 1:
            raise ValueError("copies with color 0 and crop 1 are not changed: remove copies")
        return self


@dataclass(frozen=True)
class Augmentation:
    """The changes to a clip's frames. `copy` counts from 1; gains are of red, green and blue, the offset in [−1, 1].

    `side` is the crop's share of the image's sides; `top` and `left` are shares of the space that is left.
    """

    copy: int = 0
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    offset: float = 0.0
    saturation: float = 1.0
    side: float = 1.0
    top: float = 0.5
    left: float = 0.5

    def crop_frame(self, frame_HWC: np.ndarray) -> np.ndarray:
        """Return the part of the frame that the crop keeps."""
        if self.side == 1:
            return frame_HWC
        H, W = frame_HWC.shape[:2]
        height, width = round(H * self.side), round(W * self.side)
        top, left = round((H - height) * self.top), round((W - width) * self.left)
        return frame_HWC[top : top + height, left : left + width]

    def color(self, frames_THWC: np.ndarray) -> np.ndarray:
        """Return the uint8 frames in other colors."""
        if (self.gains, self.offset, self.saturation) == ((1.0, 1.0, 1.0), 0.0, 1.0):
            return frames_THWC
        pixels = frames_THWC.astype(np.float32)
        gray = (pixels @ LUMA)[..., None]
        tinted = (gray + self.saturation * (pixels - gray)) * np.asarray(self.gains, np.float32) + 255 * self.offset
        return np.clip(np.rint(tinted), 0, 255).astype(np.uint8)

    def __str__(self) -> str:
        gains = "/".join(f"{gain:.2f}" for gain in self.gains)
        colors = f"gains {gains}, offset {self.offset:+.2f}, saturation {self.saturation:.2f}"
        return f"augmented copy {self.copy}: {colors}, crop {self.side:.3f}"


NO_AUGMENTATION = Augmentation()


def draw_augmentations(augment: AugmentationSpec, name: str, seed: int) -> list[Augmentation]:
    """Return the augmentations of the clip of that name, the same for the same seed."""
    return [
        _draw_augmentation(augment, number, derive_seed(seed, "augment", name, number))
        for number in range(1, augment.copies + 1)
    ]


def _draw_augmentation(augment: AugmentationSpec, copy: int, seed: int) -> Augmentation:
    uniform = np.random.default_rng(seed).uniform
    limit = augment.color
    gain, tints = uniform(-limit * 2 / 3, limit * 2 / 3), uniform(-limit / 3, limit / 3, 3)
    return Augmentation(
        copy=copy,
        gains=tuple(round(float(1 + gain + tint), 4) for tint in tints),  # type: ignore[arg-type]
        offset=round(float(uniform(-limit, limit)) / 3, 4),
        saturation=round(float(1 + uniform(-limit, limit)), 4),
        side=round(float(uniform(augment.crop, 1)), 4),
        top=round(float(uniform(0, 1)), 4),
        left=round(float(uniform(0, 1)), 4),
    )
