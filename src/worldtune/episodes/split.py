"""The split: whole episodes or sessions, every task in proportion, the same for the same seed whatever the order."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor

from worldtune.episodes.candidates import Candidate
from worldtune.episodes.spec import DataSpec
from worldtune.errors import DataError
from worldtune.files import digest_json

TRAIN, HELD_OUT, HELD_OUT_TASK, HELD_OUT_CAMERA = "train", "held_out", "held_out_task", "held_out_camera"


def split(found: Sequence[Candidate], spec: DataSpec) -> list[Candidate]:
    """Each candidate with what its clip is for. All cameras and windows of an episode go together.

    Clips of a held-out camera or task are sets of their own, of which the share to hold out knows nothing. Raises
    DataError when sessions are asked for and a usable episode has none.
    """
    usable = [each for each in found if each.clip is not None and not _apart(each, spec)]
    units = {each.row.episode: _unit(each, spec) for each in usable}
    tasks: dict[str, str] = {}
    for each in usable:
        tasks.setdefault(units[each.row.episode], each.row.task)
    held = held_out_episodes(tasks, spec.held_out, spec.seed)
    return [
        replace(each, row=replace(each.row, split=_apart(each, spec) or _side(units[each.row.episode], held)))
        if each.clip is not None
        else each
        for each in found
    ]


def _side(unit: str, held: set[str]) -> str:
    return HELD_OUT if unit in held else TRAIN


def _apart(each: Candidate, spec: DataSpec) -> str:
    if each.row.camera in spec.held_out_cameras:
        return HELD_OUT_CAMERA
    return HELD_OUT_TASK if each.row.task in spec.held_out_tasks else ""


def _unit(each: Candidate, spec: DataSpec) -> str:
    if spec.split_by == "episode":
        return each.row.episode
    if not each.row.session:
        what = f"split_by=session, but the session of episode {each.row.episode} is not known"
        raise DataError(what, where=spec.path, mend="Split by episode, or name the sessions: see inspect.")
    return each.row.session


def held_out_episodes(task_of: Mapping[str, str], share: float, seed: int) -> set[str]:
    """The episodes (or sessions) to hold out, from each one's task text.

    In all round(share · episodes), at least one when share > 0, divided over the tasks by largest
    remainder. Within a task, and between tasks with equal remainders, a hash of (seed, name)
    decides: neither the order of the episodes nor Python's hash seed matters.
    """
    if share == 0 or not task_of:
        return set()
    by_task: dict[str, list[str]] = defaultdict(list)
    for episode, task in task_of.items():
        by_task[task].append(episode)
    exact = Fraction(str(share))
    quota = {task: exact * len(episodes) for task, episodes in by_task.items()}
    count = {task: floor(q) for task, q in quota.items()}
    total = max(1, floor(exact * len(task_of) + Fraction(1, 2)))
    by_remainder = sorted(by_task, key=lambda task: (floor(quota[task]) - quota[task], digest_json([seed, task])))
    for task in by_remainder[: total - sum(count.values())]:
        count[task] += 1
    return {
        episode
        for task, episodes in by_task.items()
        for episode in sorted(episodes, key=lambda name: digest_json([seed, name]))[: count[task]]
    }
