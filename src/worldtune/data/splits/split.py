"""The split: whole episodes or sessions, every task in proportion, the same for the same seed in any order."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import floor

from worldtune.core.files import digest_json
from worldtune.data.candidates import Candidate
from worldtune.data.ledger import NOT_IN_PREDEFINED_SPLIT
from worldtune.data.spec import DataSpec
from worldtune.data.splits.predefined_split import PredefinedSplits, predefined_sides
from worldtune.errors import DataError

TRAIN, HELD_OUT, HELD_OUT_TASK, HELD_OUT_CAMERA = "train", "held_out", "held_out_task", "held_out_camera"


def assign_splits(candidates: Sequence[Candidate], spec: DataSpec, predefined: PredefinedSplits) -> list[Candidate]:
    """Return the candidates with their split. All cameras and windows of an episode go together.

    Clips of a held-out camera or task are separate sets and do not count toward the held-out share. Raise DataError
    if the split is by session and a usable episode has none, or if it is the source's and the source states none.
    """
    if spec.split_by == "predefined":
        train, held_out = predefined_sides(predefined, spec.path)
        return [_assign_predefined(candidate, spec, train, held_out) for candidate in candidates]
    usable = [
        candidate for candidate in candidates if candidate.clip is not None and not _held_out_set(candidate, spec)
    ]
    units = {candidate.row.episode: _split_unit(candidate, spec) for candidate in usable}
    tasks: dict[str, str] = {}
    for candidate in usable:
        tasks.setdefault(units[candidate.row.episode], candidate.row.task)
    held_out_names = held_out_episodes(tasks, spec.held_out, spec.seed)
    return [
        replace(
            candidate,
            row=replace(
                candidate.row,
                split=_held_out_set(candidate, spec) or _side(units[candidate.row.episode], held_out_names),
            ),
        )
        if candidate.clip is not None
        else candidate
        for candidate in candidates
    ]


def _assign_predefined(
    candidate: Candidate, spec: DataSpec, train: frozenset[str], held_out_names: frozenset[str]
) -> Candidate:
    if candidate.clip is None:
        return candidate
    if candidate.row.episode not in train | held_out_names:
        return candidate.reject(NOT_IN_PREDEFINED_SPLIT)
    side = _held_out_set(candidate, spec) or (TRAIN if candidate.row.episode in train else HELD_OUT)
    return replace(candidate, row=replace(candidate.row, split=side))


def _side(unit: str, held_out_names: set[str]) -> str:
    return HELD_OUT if unit in held_out_names else TRAIN


def _held_out_set(candidate: Candidate, spec: DataSpec) -> str:
    if candidate.row.camera in spec.held_out_cameras:
        return HELD_OUT_CAMERA
    return HELD_OUT_TASK if candidate.row.task in spec.held_out_tasks else ""


def _split_unit(candidate: Candidate, spec: DataSpec) -> str:
    if spec.split_by == "episode":
        return candidate.row.episode
    if not candidate.row.session:
        what = f"split_by=session, but the session of episode {candidate.row.episode} is unknown"
        raise DataError(what, where=spec.path, hint="Split by episode, or name the sessions (`worldtune inspect`).")
    return candidate.row.session


def held_out_episodes(task_of: Mapping[str, str], share: float, seed: int) -> set[str]:
    """Return the episodes (or sessions) to hold out, given the task text of each.

    The total is round(share · episodes), at least one if share > 0, divided over the tasks by largest
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
