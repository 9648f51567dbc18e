"""The metrics by name: what they are called, in which unit, and which way is better.

`one`: 1 is right, and a value is as far from it as its logarithm; `slope`: 1 is right, and a value is as far from it as
the difference. `shown`: a number to look at; neither way is better.
"""

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "one", "slope", "shown"]
LEAST = 1e-3  # of a ratio, before its logarithm is taken
DIGITS = 12  # of that logarithm: 3/4 and 4/3 are equally good whatever the last bit of a machine's log2 is


@dataclass(frozen=True)
class Measure:
    """`label` heads a column, `about` is the sentence under the table; `digits` are those after the point."""

    label: str
    unit: str
    better: Better
    digits: int
    about: str

    @property
    def way(self) -> str:
        """Which way is better, in words."""
        ways = {"higher": "higher is better", "lower": "lower is better", "shown": "to look at"}
        return ways.get(self.better, "1 is right")

    def goodness(self, value: float | None) -> float | None:
        """A number that is higher where the value is better; None of a number that is only shown."""
        if value is None or self.better == "shown":
            return None
        if self.better == "one":
            return -abs(round(math.log2(max(value, LEAST)), DIGITS))
        if self.better == "slope":
            return -abs(1 - value)
        return value if self.better == "higher" else -value


MEASURES: dict[str, Measure] = {
    "psnr_db": Measure("PSNR", "dB", "higher", 1, "nearness to the real video, frames after the given one"),
    "moving_psnr_db": Measure(
        "where it moves", "dB", "higher", 1, "PSNR of the pixels that leave the first frame by a tenth of the range"
    ),
    "ssim": Measure("SSIM", "", "higher", 3, "structural similarity to the real video"),
    "motion_ratio": Measure("motion", "×", "one", 2, "frame-to-frame change over the real video's: 0 is frozen"),
    "moves": Measure("moves", "", "higher", 2, "share of videos with at least 0.3 of the real one's optical flow"),
    "motion_agreement": Measure(
        "moves alike", "", "higher", 2, "cosine between the optical flows: 1 moves as the real one does, −1 back"
    ),
    "path_slope": Measure(
        "reach", "×", "slope", 2, "how far the gripper goes for each unit that it really goes: below 1, to the mean"
    ),
    "path_correlation": Measure("path", "", "higher", 2, "correlation of the gripper's path with the real one"),
    "end_point_mm": Measure("end point", "mm", "lower", 0, "from where the gripper really ends, both read from video"),
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
    "cross_view_ratio": Measure(
        "cross-view error", "×", "one", 2, "Sampson error between the cameras of a tiled picture, over the real video's"
    ),
    "object_permanence": Measure(
        "objects stay", "", "higher", 2, "share of (object, frame) that is lost, there or doubled as in the real video"
    ),
    "alarms": Measure(
        "alarms",
        "of 8",
        "lower",
        2,
        "what is unusual beside real clips of the camera: blur, jumps, drift, lost objects",
    ),
    "differs": Measure("differs", "levels", "shown", 1, "from the base's video of the same noise, root mean square"),
    "diversity": Measure("diversity", "levels", "shown", 1, "between its videos of other seeds, root mean square"),
    "prompt_sensitivity": Measure(
        "prompt", "levels", "shown", 1, "from its video of another task, same frame and noise, root mean square"
    ),
    "nearest_training": Measure(
        "memory", "×", "shown", 2, "distance to the nearest training clip over the real video's: far below 1 it copies"
    ),
    "judge_physics": Measure("judge: physics", "of 5", "higher", 1, "by a vision-language model, 1 to 5"),
    "judge_instruction": Measure("judge: instruction", "of 5", "higher", 1, "by a vision-language model, 1 to 5"),
    "judge_anomalies": Measure("judge: anomalies", "", "lower", 2, "share of its questions that it answers with yes"),
    "lpips": Measure("LPIPS", "", "lower", 3, "perceptual distance to the real video (Zhang et al. 2018)"),
    "dino_similarity": Measure(
        "DINO", "", "higher", 3, "cosine of DINOv2's features to the real video's, frame by frame"
    ),
    "subject_consistency": Measure(
        "subject consistency", "", "shown", 3, "VBench: cosine of DINO's features to the first and the last frame's"
    ),
    "background_consistency": Measure(
        "background consistency", "", "shown", 3, "VBench: cosine of CLIP's features to the first and the last frame's"
    ),
    "temporal_flickering": Measure("steadiness", "", "shown", 3, "VBench: 1 − mean change between frames, of 255"),
    "action_cycle": Measure("action cycle", "", "higher", 2, "actions read from the video, executed again"),
}
ACROSS = {"diversity"}  # of all of a case's videos together, not of each
