"""The weight-free critics of a video: whether something moves, and whether it looks like real clips.

Shape letters: T frames, H height, W width, C channels.
"""

from worldtune.dreams.critics.limits import Rule
from worldtune.evaluation.metrics.anomaly import measure_statistics
from worldtune.evaluation.metrics.flow import flow_speed
from worldtune.evaluation.metrics.video_features import VideoFeatures

FLOW = "flow"
MOTION_RULES = {FLOW: Rule(side="at least")}
ANOMALY_RULE = Rule(side="between")


def measure_motion(features: VideoFeatures) -> dict[str, float]:
    """Return the root mean square of the smoothed flow, in pixels a step: noise hardly counts."""
    return {FLOW: flow_speed(features)}


def measure_anomaly(features: VideoFeatures) -> dict[str, float]:
    """Return the measurements of anomaly detection: sharpness, motion, flicker, colors, objects."""
    return measure_statistics(features)
