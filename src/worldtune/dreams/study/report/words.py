"""The names and numbers of the page, in words for a robotics engineer."""

from collections.abc import Sequence

from worldtune.dreams.study.saved_results import Estimate
from worldtune.dreams.study.settings import MORE_REAL, Arm, StudySettings, Target
from worldtune.dreams.study.verdict import points as verdict_points

TARGETS: dict[Target, str] = {
    "camera": "New camera",
    "known": "Known camera",
    "task": "New task",
}
ADDED: dict[Arm, str] = {
    "base": "dreams of the base",
    "lora": "dreams of the LoRA",
    "dora": "dreams of the DoRA",
    "filtered": "kept dreams of the LoRA",
    "shuffled": "dreams, shuffled labels",
    "codec-idm": "codec clips, IDM labels",
    "video-idm": "true clips, IDM labels",
    "oracle": "true clips, true labels",
}
"""What an arm adds to the real demonstrations."""
STYLES: dict[Arm, str] = {
    "base": "s0",
    "lora": "s1",
    "dora": "s3",
    "filtered": "s4",
    "shuffled": "control",
    "codec-idm": "s5",
    "video-idm": "s5",
    "oracle": "s2",
}
"""The color of an arm in the charts; real demonstrations alone have that of text."""
REPLAYED = {
    "true": "true labels",
    "video-idm": "IDM labels of the true clips",
    "codec-idm": "IDM labels of the clips through the codec",
    "base": "IDM labels of the base's dreams",
    "lora": "IDM labels of the LoRA's dreams",
    "dora": "IDM labels of the DoRA's dreams",
}
VIDEO_NAMES = {
    "video": "true clips",
    "codec": "true clips through the codec",
    "base": "dreams of the base",
    "lora": "dreams of the LoRA",
    "dora": "dreams of the DoRA",
}
SHOWN = {
    "video": "true clip",
    "codec": "true clip through the codec",
    "base": "dream of the base",
    "lora": "dream of the LoRA",
    "dora": "dream of the DoRA",
}
STAGES = {
    "render": "render the demonstrations",
    "render-resets": "render the true clips of the first frames",
    "lora": "train the LoRA",
    "dora": "train the DoRA",
    "idm": "train the IDM",
    "dreams-base": "dream with the base",
    "dreams-lora": "dream with the LoRA",
    "dreams-dora": "dream with the DoRA",
}


def arm_name(settings: StudySettings, arm: Arm) -> str:
    """Return what the policies of an arm learn from, such as "5 real + dreams of the LoRA"."""
    count = settings.demonstrations
    if arm in MORE_REAL:
        return f"{count * MORE_REAL[arm]} real"
    if arm in ADDED:
        return f"{count} real + {ADDED[arm]}"
    return f"{count} real, half the steps" if arm == "real-once" else f"{count} real"


def percent(share: float) -> str:
    """Return a share as whole percent, such as "81%"."""
    return f"{share:.0%}"


def success(estimate: Estimate) -> str:
    """Return a success with its interval, such as "81% [71, 88]"."""
    return f"{estimate.mean:.0%} [{100 * estimate.low:.0f}, {100 * estimate.high:.0f}]"


def points(estimate: Estimate) -> str:
    """Return a difference in percentage points with its interval and minus signs, such as "−31 points [−50, −12]"."""
    return verdict_points(estimate).replace("-", "−")


def millimeters(meters: float) -> str:
    """Return a distance such as "22 mm"."""
    return f"{1000 * meters:.0f}\N{NO-BREAK SPACE}mm"


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it, such as "45 s", "12 min" or "3.4 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def over_draws(values: Sequence[float | None], digits: int) -> str:
    """Return the mean over draws with the smallest and the largest, "–" without a value."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean, low, high = (f"{value:.{digits}f}" for value in (sum(known) / len(known), min(known), max(known)))
    return (mean if low == high else f"{mean} ({low} to {high})").replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """Return names as text: "draws, seeds and resets"."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def many(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun, such as "1 draw" or "3 draws"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
