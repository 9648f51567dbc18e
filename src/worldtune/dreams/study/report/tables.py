"""The rows of the page's tables."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from worldtune.dreams.study.report.words import (
    REPLAYED,
    STAGES,
    VIDEO_NAMES,
    arm_name,
    listed,
    over_draws,
    percent,
    points,
    success,
)
from worldtune.dreams.study.saved_results import Difference, EndPoints, StudyResults, VideoFigures
from worldtune.dreams.study.settings import Arm
from worldtune.evaluation.metrics.end_points import MAX_ERROR_OVER_SPREAD

SUBSTITUTIONS: tuple[tuple[Arm, Arm | None, str], ...] = (
    ("oracle", None, "true clips with true labels"),
    ("video-idm", "oracle", "labels read by the IDM"),
    ("codec-idm", "video-idm", "pictures through the base's codec"),
    ("lora", "codec-idm", "dreams of the LoRA instead of true clips"),
    ("filtered", "lora", "only the dreams that the critics keep"),
)
"""From true clips to dreams: an arm, the arm before it, and what changes between them."""
AXES = "xyz"


@dataclass(frozen=True)
class DifferenceRow:
    """A difference of two arms; `tone` is "good" or "bad" if its interval is clear of zero, otherwise "unsure"."""

    arm: str
    other: str
    points: str
    covers: str
    tone: str


@dataclass(frozen=True)
class StageRow:
    """One substitution: what changes, the success after it, and its difference from the row before."""

    change: str
    success: str
    points: str
    tone: str


@dataclass(frozen=True)
class FigureRow:
    """What the IDM reads from one kind of videos; distances in millimeters, ranges over draws."""

    videos: str
    r2: str
    error: str
    spread: str
    error_over_spread: str
    passes: bool | None
    slope: str
    slope_by_axis: str
    gripper: str
    rank_correlation: str


@dataclass(frozen=True)
class CriticRow:
    """What the critics did with the dreams of one task and arm, over all draws."""

    task: str
    videos: str
    dreams: int
    kept: int
    rejected: str
    false_alarms: str


def difference_rows(study: StudyResults, task: str) -> list[DifferenceRow]:
    """Return the differences of arms, the dreams' first."""
    settings = study.settings
    return [
        DifferenceRow(
            arm_name(settings, row.arm),
            arm_name(settings, row.other),
            points(row),
            listed(row.interval_covers),
            _tone(row),
        )
        for row in study.tasks[task].differences
    ]


def stage_rows(study: StudyResults, task: str) -> list[StageRow]:
    """Return the substitutions whose arms were run."""
    results, rows = study.tasks[task], []
    for arm, before, change in SUBSTITUTIONS:
        if arm not in results.success:
            continue
        row = results.difference(arm, before) if before else None
        text, tone = (points(row), _tone(row)) if row else ("–", "")
        rows.append(StageRow(change, success(results.success[arm]), text, tone))
    return rows


def lost_stage(study: StudyResults, task: str) -> str:
    """Return a sentence about the substitution that loses most, "" if fewer than two arms were run."""
    results = study.tasks[task]
    changes = [
        (row, change)
        for arm, before, change in SUBSTITUTIONS
        if before is not None and (row := results.difference(arm, before)) is not None
    ]
    if not changes:
        return ""
    row, change = min(changes, key=lambda pair: pair[0].mean)
    if row.high < 0:
        return f"Most success is lost here: {change} ({points(row)})."
    return f"No stage loses success clearly. The largest change is this: {change} ({points(row)})."


def replay_rows(study: StudyResults, task: str) -> list[tuple[str, str]]:
    """Return the kinds of labels with the success of replaying them."""
    return [(REPLAYED[kind], percent(rate)) for kind, rate in study.tasks[task].replay.items()]


def figure_rows(study: StudyResults, task: str) -> list[FigureRow]:
    """Return what the IDM reads from each kind of videos."""
    kinds = dict.fromkeys(kind for draw in study.figures for kind in draw)
    return [
        _figure_row(VIDEO_NAMES[kind], [draw[kind][task] for draw in study.figures if kind in draw]) for kind in kinds
    ]


def _figure_row(name: str, draws: list[VideoFigures]) -> FigureRow:
    ends = [figures.end_points for figures in draws]
    ratios = [end.error_over_spread for end in ends if end.error_over_spread is not None]
    gripper = [value for figures in draws for value in figures.balanced_accuracy.values()]
    return FigureRow(
        videos=name,
        r2=over_draws([figures.displacement_r2 for figures in draws], 2),
        error=over_draws([_millimeters(end.error) for end in ends], 0),
        spread=over_draws([_millimeters(end.spread) for end in ends], 0),
        error_over_spread=over_draws(ratios, 2),
        passes=sum(ratios) / len(ratios) <= MAX_ERROR_OVER_SPREAD if ratios else None,
        slope=over_draws([end.slope for end in ends], 2),
        slope_by_axis="; ".join(_slopes(ends)),
        gripper=over_draws(gripper, 2),
        rank_correlation=over_draws([figures.spearman for figures in draws], 2),
    )


def _slopes(ends: list[EndPoints]) -> Iterator[str]:
    axes = list(zip(*(end.slope_by_axis for end in ends), strict=True))
    names = AXES if len(axes) == len(AXES) else [str(number) for number in range(len(axes))]
    for name, slopes in zip(names, axes, strict=True):
        yield f"{name} {over_draws(slopes, 2)}"


def critic_rows(study: StudyResults) -> list[CriticRow]:
    """Return the critics' counts of each task and arm, summed over draws."""
    rows = []
    for task, arm in dict.fromkeys((counts.task, counts.arm) for counts in study.critics):
        own = [counts for counts in study.critics if (counts.task, counts.arm) == (task, arm)]
        rejected = sum((Counter(counts.rejected) for counts in own), Counter[str]())
        alarms, clips = sum(counts.false_alarms for counts in own), sum(counts.real_clips for counts in own)
        kind = "held-out" if all(counts.held_out for counts in own) else "training"
        rows.append(
            CriticRow(
                task=task,
                videos=VIDEO_NAMES[arm],
                dreams=sum(counts.dreams for counts in own),
                kept=sum(counts.kept for counts in own),
                rejected=", ".join(f"{reason} {count}" for reason, count in rejected.most_common()) or "–",
                false_alarms=f"{alarms} of {clips} real {kind} clips",
            )
        )
    return rows


def stage_seconds(study: StudyResults) -> dict[str, float]:
    """Return the seconds of each kind of work, summed over draws and processes."""
    seconds: dict[str, float] = {}
    for stage, value in study.seconds.items():
        kind, _, number = stage.rpartition("-")
        kind = kind if number.isdigit() else stage
        name = STAGES.get(kind, kind)
        seconds[name] = seconds.get(name, 0.0) + value
    return seconds | {"train and evaluate the policies": study.policy_seconds}


def _millimeters(meters: float | None) -> float | None:
    return None if meters is None else 1000 * meters


def _tone(row: Difference) -> str:
    return "good" if row.low > 0 else "bad" if row.high < 0 else "unsure"
