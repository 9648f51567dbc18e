"""The suite of an evaluation: held-out clips of some runs, and of the base's domain, as one set of cases.

Runs of different datasets are judged on the clips of all of them, so that each adapter shows what it does to the
others' tasks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worldtune.episodes.clip import Clip, content_digest
from worldtune.episodes.dataset import open_dataset
from worldtune.errors import DataError
from worldtune.evaluation.case import BASE_DOMAIN, Case
from worldtune.evaluation.place import place_columns
from worldtune.evaluation.runs import TrainedRun, recipe_of, refuse_changed_data
from worldtune.evaluation.suite import cases_of
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import LatentStore
from worldtune.training.data import HeldOut, OnClip, prepare_held_out
from worldtune.worlds.world import World


@dataclass(frozen=True)
class Suite:
    """`clips` and `cases` belong together, in order; the first domain is that of the first run.

    `trained_on` are clips that the first run was trained on; `columns` those of its states that are the gripper's
    place, none where they are not known. `notes` are what a reader of the results must know of it.
    """

    clips: list[LatentClip]
    cases: list[Case]
    trained_on: list[LatentClip]
    columns: tuple[int, ...]
    notes: list[str]

    @property
    def headline(self) -> list[Case]:
        """The cases of the first run's dataset."""
        return [case for case in self.cases if case.domain == self.cases[0].domain]


def gather(
    world: World,
    runs: Sequence[TrainedRun],
    title: str,
    store: LatentStore,
    count: int | None,
    asked_columns: tuple[int, ...] = (),
    on_clip: OnClip = lambda done, total: None,
) -> Suite:
    """The suite of some runs: `count` held-out clips of each dataset (None: all), some of the first's base domain.

    Clips of tasks and cameras that a recipe holds out are domains of their own. A clip that two datasets hold out is
    judged once. Raises DataError when a dataset is not what its run was trained on.
    """
    parts: dict[str, list[LatentClip]] = {}
    first: HeldOut | None = None
    notes: list[str] = []
    for leader, its in by_dataset(runs):
        found = prepare_held_out(world, leader.recipe, store, count, on_clip)
        refuse_changed_data(its, found.dataset.digest)
        own = title if first is None else f"Held-out clips of {leader.name}"
        for domain, clips in (
            (own, found.clips),
            (f"{own}: tasks never seen", found.new_task),
            (f"{own}: cameras never seen", found.new_camera),
        ):
            parts[domain] = clips if first is None else [_apart(clip, leader.name) for clip in clips]
        if first is None:
            first = found
    assert first is not None
    parts[BASE_DOMAIN] = [_apart(clip, BASE_DOMAIN) for clip in first.base_domain]
    twice = _once(parts)
    if twice:
        notes.append(f"{twice} clips are held out by two datasets: each is judged once, among the first's.")
    columns = asked_columns or place_columns(first.dataset.state_names)
    _refuse_absent_columns(columns, parts)
    notes += list(_of_training(first, runs[0], columns))
    cases = [case for domain, clips in parts.items() for case in cases_of(clips, domain, columns)]
    return Suite([clip for clips in parts.values() for clip in clips], cases, first.trained_on, columns, notes)


def by_dataset(runs: Sequence[TrainedRun]) -> Iterator[tuple[TrainedRun, list[TrainedRun]]]:
    """The first run of each dataset, with all of that dataset."""
    groups: dict[str, list[TrainedRun]] = {}
    for run in runs:
        groups.setdefault(run.card.lineage["datasets"]["data"], []).append(run)
    for its in groups.values():
        yield its[0], its


def refuse_trained_on(runs: Mapping[str, Path], clips: Sequence[LatentClip]) -> None:
    """Raises DataError when one of these run folders was trained on a recording of the suite, by its files' digests."""
    held = {place: clip.clip.name for clip in clips for place in _recordings(clip.clip)}
    for name, folder in runs.items():
        for part, spec in recipe_of(folder).datasets.items():
            for clip in open_dataset(spec).train if part != "forgetting" else []:
                if twin := next((held[place] for place in _recordings(clip) if place in held), None):
                    raise DataError(
                        f"{name} was trained on the clip {twin} that is to judge it",
                        where=str(folder),
                        mend="Evaluate it on clips of its own dataset, or leave it out.",
                    )


def _once(parts: dict[str, list[LatentClip]]) -> int:
    """Leave out of later parts what an earlier one has; how many clips that were."""
    seen: set[str] = set()
    twice = 0
    for domain, clips in parts.items():
        fresh = [clip for clip in clips if content_digest(clip.clip) not in seen]
        twice += len(clips) - len(fresh)
        seen |= {content_digest(clip.clip) for clip in clips}
        parts[domain] = fresh
    return twice


def _refuse_absent_columns(columns: Sequence[int], parts: Mapping[str, Sequence[LatentClip]]) -> None:
    for clip in (clip for clips in parts.values() for clip in clips):
        states_TS = clip.clip.states
        if states_TS is not None and columns and max(columns) >= states_TS.shape[1]:
            what = f"the place is in column {max(columns)}, the states of {clip.clip.source} have {states_TS.shape[1]}"
            raise DataError(what, where="--place", mend="Name columns that there are: the first is 0.")


def _of_training(first: HeldOut, run: TrainedRun, columns: Sequence[int]) -> Iterator[str]:
    known, every = len(first.trained_on), sum(not clip.change.copy for clip in first.dataset.train)
    if known < every:
        yield f"Memory and the nearest training clip look at {known} of the {every} training clips of {run.name}."
    names = first.dataset.state_names
    if columns and names and max(columns) < len(names):
        chosen = ", ".join(names[column] for column in columns)
        yield f"The gripper's place is {chosen} of the states, taken to be metres."


def _apart(clip: LatentClip, of: str) -> LatentClip:
    """Two datasets may give their episodes the same names."""
    return replace(clip, clip=replace(clip.clip, episode=f"{of} {clip.clip.episode}"))


def _recordings(clip: Clip) -> list[tuple[str, str]]:
    """The bytes of each file, and which of the recordings in it."""
    return [(digest, inside) for digest, (_, inside) in zip(clip.sha256, clip.footage.places, strict=True)]
