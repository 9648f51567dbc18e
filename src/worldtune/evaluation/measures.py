"""The metrics by name: what they are called, in which unit, and which way is better.

`one`: 1 is right, and a value is as far from it as its logarithm. `shown`: a number to look at; neither way is better.
"""

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "one", "shown"]
LEAST = 1e-3  # of a ratio, before its logarithm is taken


@dataclass(frozen=True)
class Measure:
    """`label` heads a column, `about` is the sentence under the table; `digits` are those after the point."""

    label: str
    unit: str
    better: Better
    digits: int
    about: str

    def goodness(self, value: float | None) -> float | None:
        """A number that is higher where the value is better; None of a number that is only shown."""
        if value is None or self.better == "shown":
            return None
        if self.better == "one":
            return -abs(math.log2(max(value, LEAST)))
        return value if self.better == "higher" else -value


MEASURES: dict[str, Measure] = {
    "psnr_db": Measure("PSNR", "dB", "higher", 1, "nearness to the real video, frames after the given one"),
    "moving_psnr_db": Measure(
        "where it moves", "dB", "higher", 1, "PSNR of the pixels that leave the first frame by a tenth of the range"
    ),
    "ssim": Measure("SSIM", "", "higher", 3, "structural similarity to the real video"),
    "motion_ratio": Measure("motion", "×", "one", 2, "frame-to-frame change over the real video's: 0 is frozen"),
    "motion_agreement": Measure(
        "moves alike", "", "higher", 2, "cosine between the optical flows: 1 moves as the real one does, −1 back"
    ),
    "background_drift": Measure(
        "background drift", "levels", "lower", 1, "how far what stands still in the real video has drifted, of 255"
    ),
    "flicker_ratio": Measure(
        "flicker", "×", "one", 2, "warp error of the optical flow over the real video's: above 1 it flickers"
    ),
    "sharpness_ratio": Measure("sharpness", "×", "one", 2, "variance of the Laplacian over the real video's"),
    "sampson_ratio": Measure(
        "Sampson error", "×", "one", 2, "of matched points to one epipolar geometry, over the real video's"
    ),
    "match_ratio": Measure(
        "matched points", "×", "one", 2, "SIFT matches between neighbouring frames, over the real's"
    ),
    "object_permanence": Measure(
        "objects stay", "", "higher", 2, "share of (object, frame) that is lost, there or doubled as in the real video"
    ),
}
