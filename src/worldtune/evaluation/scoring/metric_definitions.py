"""The metrics by name: label, unit, description, and which way is better.

`one`: a ratio whose right value is 1; its error is the absolute logarithm. `slope`: 1 is right; the error is the
absolute difference from 1. `shown`: for information; neither way is better.
"""

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "one", "slope", "shown"]
MIN_RATIO = 1e-3  # smallest ratio whose logarithm is taken
LOG_DIGITS = 12  # digits of that logarithm, so that 3/4 and 4/3 are equally good on every machine


@dataclass(frozen=True)
class MetricDefinition:
    """A metric for reports: its column label, unit, direction, decimals (`digits`) and description."""

    label: str
    unit: str
    better: Better
    digits: int
    description: str

    @property
    def direction(self) -> str:
        """Which way is better, in words."""
        directions = {"higher": "higher is better", "lower": "lower is better", "shown": "for information"}
        return directions.get(self.better, "1 is right")

    def goodness(self, value: float | None) -> float | None:
        """Return a number that is higher if the value is better; None for metrics that are only shown."""
        if value is None or self.better == "shown":
            return None
        if self.better == "one":
            return -abs(round(math.log2(max(value, MIN_RATIO)), LOG_DIGITS))
        if self.better == "slope":
            return -abs(1 - value)
        return value if self.better == "higher" else -value


METRICS: dict[str, MetricDefinition] = {
    "psnr_db": MetricDefinition("PSNR", "dB", "higher", 1, "similarity to the real video, without the first frame"),
    "moving_psnr_db": MetricDefinition(
        "moving-region PSNR",
        "dB",
        "higher",
        1,
        "PSNR of pixels that differ from the first frame by a tenth of the range",
    ),
    "ssim": MetricDefinition("SSIM", "", "higher", 3, "structural similarity to the real video"),
    "motion_ratio": MetricDefinition(
        "motion ratio", "×", "one", 2, "frame-to-frame change over the real video's: 0 is frozen"
    ),
    "moves": MetricDefinition(
        "moves", "", "higher", 2, "share of videos with at least 0.3 of the real video's optical flow"
    ),
    "flow_agreement": MetricDefinition(
        "flow agreement", "", "higher", 2, "cosine between the optical flows: 1 is the same motion, −1 the opposite"
    ),
    "path_slope": MetricDefinition(
        "path slope",
        "×",
        "slope",
        2,
        "gripper's displacement over the real one: below 1, too short. The motion that all clips share dominates it",
    ),
    "path_correlation": MetricDefinition(
        "path correlation", "", "higher", 2, "correlation of the gripper's path with the real path"
    ),
    "end_point_mm": MetricDefinition(
        "end point", "mm", "lower", 0, "distance between the gripper's end points, both read from video"
    ),
    "end_point_slope": MetricDefinition(
        "end-point slope",
        "×",
        "slope",
        2,
        "end points about their mean over a task's clips: below 1, every clip gets nearly the same motion",
    ),
    **{
        f"end_point_slope_{axis}": MetricDefinition(
            f"end-point slope, {axis}",
            "×",
            "slope",
            2,
            f"the same along {axis}, in tasks whose end points differ in it",
        )
        for axis in "xyz"
    },
    "end_point_over_spread": MetricDefinition(
        "end point over spread",
        "×",
        "lower",
        2,
        "distance between the end points, over the real ones' mean distance from their task's mean",
    ),
    "wrong_action_correlation": MetricDefinition(
        "wrong-action correlation",
        "",
        "higher",
        2,
        "obedience: correlation of the gripper's path, given another task's actions, with the path of these actions",
    ),
    "background_drift": MetricDefinition(
        "background drift", "levels", "lower", 1, "change of pixels that stand still in the real video, of 255"
    ),
    "flicker_ratio": MetricDefinition(
        "flicker ratio", "×", "one", 2, "warp error of the optical flow over the real video's: above 1 it flickers"
    ),
    "sharpness_ratio": MetricDefinition(
        "sharpness ratio", "×", "one", 2, "variance of the Laplacian over the real video's"
    ),
    "sampson_ratio": MetricDefinition(
        "Sampson error", "×", "one", 2, "error of matched points to one epipolar geometry, over the real video's"
    ),
    "match_ratio": MetricDefinition(
        "matched points", "×", "one", 2, "SIFT matches between neighboring frames, over the real video's"
    ),
    "cross_view_ratio": MetricDefinition(
        "cross-view error", "×", "one", 2, "Sampson error between the cameras of a tiled picture, over the real video's"
    ),
    "object_permanence": MetricDefinition(
        "object permanence",
        "",
        "higher",
        2,
        "share of (object, frame) in the same state as in the real video: lost, present or duplicated",
    ),
    "anomalies": MetricDefinition(
        "anomalies",
        "of 8",
        "lower",
        2,
        "measurements outside the range of real clips of the camera: blur, jumps, drift, lost objects",
    ),
    "base_difference": MetricDefinition(
        "difference from base", "levels", "shown", 1, "RMS difference from the base's video of the same noise"
    ),
    "diversity": MetricDefinition(
        "diversity", "levels", "shown", 1, "RMS difference between its videos of different seeds"
    ),
    "prompt_sensitivity": MetricDefinition(
        "prompt sensitivity",
        "levels",
        "shown",
        1,
        "RMS difference from its video with another task's prompt, same first frame and noise",
    ),
    "memorization_ratio": MetricDefinition(
        "memorization ratio",
        "×",
        "shown",
        2,
        "distance to the nearest training clip over the real video's: far below 1 is a copy",
    ),
    "judge_physics": MetricDefinition(
        "judge: physics", "of 5", "higher", 1, "rating by a vision-language model, 1 to 5"
    ),
    "judge_instruction": MetricDefinition(
        "judge: instruction", "of 5", "higher", 1, "rating by a vision-language model, 1 to 5"
    ),
    "judge_anomalies": MetricDefinition(
        "judge: anomalies", "", "lower", 2, "share of questions about anomalies answered with yes"
    ),
    "lpips": MetricDefinition("LPIPS", "", "lower", 3, "perceptual distance to the real video (Zhang et al. 2018)"),
    "dino_similarity": MetricDefinition(
        "DINO similarity", "", "higher", 3, "cosine of DINOv2's features to the real video's, frame by frame"
    ),
    "subject_consistency": MetricDefinition(
        "subject consistency", "", "shown", 3, "VBench: cosine of DINO's features to the first and the previous frame's"
    ),
    "background_consistency": MetricDefinition(
        "background consistency",
        "",
        "shown",
        3,
        "VBench: cosine of CLIP's features to the first and the previous frame's",
    ),
    "temporal_flickering": MetricDefinition(
        "temporal flickering", "", "shown", 3, "VBench: 1 − mean change between frames, of 255"
    ),
    "action_cycle": MetricDefinition(
        "action cycle consistency", "", "higher", 2, "agreement with the video after its actions are executed again"
    ),
}
ACROSS_SEEDS = {"diversity"}  # metrics of all videos of a case together
ACROSS_CASES = ("end_point_slope", *(f"end_point_slope_{axis}" for axis in "xyz"), "end_point_over_spread")
"""The metrics that need the other clips of the task too. A single video has none of them."""
