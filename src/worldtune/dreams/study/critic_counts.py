"""What the critics kept and rejected, and the time of the dreams."""

from collections import Counter

from worldtune.core.ranges import Count
from worldtune.core.settings import StrictModel
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.scenes import prompt_of
from worldtune.dreams.study.settings import Arm, StudySettings


class CriticCounts(StrictModel):
    """The dreams of an arm, a draw and a task.

    rejected: how many, by the critic that rejected them first ("duplicate" for near duplicates). seconds: to sample,
    label and judge them. false_alarms: the real clips of `real_clips` that the critics reject; held_out: whether
    these clips are unseen by the adapter.
    """

    draw: Count
    arm: Arm
    task: str
    dreams: Count
    kept: Count
    rejected: dict[str, int]
    seconds: float
    real_clips: Count
    false_alarms: Count
    held_out: bool


def count_critics(settings: StudySettings, folder: StudyFolder) -> list[CriticCounts]:
    """Return the counts of all dreams that were made."""
    return [
        counts
        for draw in range(settings.draws)
        if folder.figures(draw).is_file()
        for arm in settings.dream_arms
        for counts in _of_set(settings, DreamSet(folder.dreams(draw, arm)), draw, arm)
    ]


def _of_set(settings: StudySettings, dreams: DreamSet, draw: int, arm: Arm) -> list[CriticCounts]:
    calibration = dreams.calibration
    assert calibration is not None
    found = []
    for task in settings.tasks:
        rows = [row for row in dreams.ledger if row.prompt == prompt_of(task, settings.view)]
        rejected = Counter(row.reason.partition(":")[0] for row in rows if not row.kept)
        counts = CriticCounts(
            draw=draw,
            arm=arm,
            task=task,
            dreams=len(rows),
            kept=sum(row.kept for row in rows),
            rejected=dict(rejected.most_common()),
            seconds=round(sum(row.seconds for row in rows), 1),
            real_clips=calibration.clips,
            false_alarms=calibration.false_alarms,
            held_out=calibration.held_out,
        )
        found.append(counts)
    return found
