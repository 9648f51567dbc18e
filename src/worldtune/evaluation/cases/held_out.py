"""The suite of an evaluation: the held-out clips of its runs and clips of the base domain, as one list of cases.

Runs of different datasets are evaluated on the held-out clips of all of them, so that the report shows what each
adapter does to the tasks of the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from worldtune.core.progress import Progress, silent
from worldtune.data.clip import Clip, content_digest
from worldtune.data.dataset import open_dataset
from worldtune.errors import DataError
from worldtune.evaluation.cases.case import BASE_DOMAIN, Case
from worldtune.evaluation.cases.clip_cases import make_cases
from worldtune.evaluation.cases.gripper_columns import find_gripper_columns
from worldtune.evaluation.cases.runs import TrainedRun, check_data_unchanged, load_run_recipe
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import LatentStore
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import HeldOut, prepare_held_out


@dataclass(frozen=True)
class Suite:
    """The clips of an evaluation and their cases, in the same order; the first domain is the first run's.

    `trained_on` are clips that the first run was trained on. `columns` are the state columns of the gripper position,
    empty if unknown. `notes` are sentences for the reader of the results.
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


def build_suite(
    world: World,
    runs: Sequence[TrainedRun],
    title: str,
    store: LatentStore,
    count: int | None,
    given_columns: tuple[int, ...] = (),
    progress: Progress = silent,
) -> Suite:
    """Return the suite of the runs: `count` held-out clips of each dataset (None: all), and base domain clips.

    Tasks and cameras that a recipe holds out are separate domains. A clip that two datasets hold out is used once.
    Raise DataError if a dataset has changed since its run was trained.
    """
    parts: dict[str, list[LatentClip]] = {}
    first: HeldOut | None = None
    notes: list[str] = []
    for first_run, dataset_runs in group_by_dataset(runs):
        found = prepare_held_out(world, first_run.recipe, store, count, progress)
        check_data_unchanged(dataset_runs, found.dataset.digest)
        main_domain = title if first is None else f"Held-out clips of {first_run.name}"
        for domain, clips in (
            (main_domain, found.clips),
            (f"{main_domain}: tasks never seen", found.new_task),
            (f"{main_domain}: cameras never seen", found.new_camera),
        ):
            parts[domain] = clips if first is None else [_rename_episode(clip, first_run.name) for clip in clips]
        if first is None:
            first = found
    assert first is not None
    parts[BASE_DOMAIN] = [_rename_episode(clip, BASE_DOMAIN) for clip in first.base_domain]
    repeated = _drop_repeated(parts)
    if repeated:
        notes.append(f"{repeated} clips are held out by two datasets; each is used once, with the first dataset.")
    columns = given_columns or find_gripper_columns(first.dataset.state_names)
    _check_columns(columns, parts)
    notes += list(_training_notes(first, runs[0], columns))
    cases = [case for domain, clips in parts.items() for case in make_cases(clips, domain, columns)]
    return Suite([clip for clips in parts.values() for clip in clips], cases, first.trained_on, columns, notes)


def group_by_dataset(runs: Sequence[TrainedRun]) -> Iterator[tuple[TrainedRun, list[TrainedRun]]]:
    """Yield for each dataset its first run, and all its runs."""
    groups: dict[str, list[TrainedRun]] = {}
    for run in runs:
        groups.setdefault(run.card.lineage["datasets"]["data"], []).append(run)
    for dataset_runs in groups.values():
        yield dataset_runs[0], dataset_runs


def check_not_trained_on(runs: Mapping[str, Path], clips: Sequence[LatentClip]) -> None:
    """Raise DataError if a run was trained on a recording of the suite. Recordings are compared by file digest."""
    held_out = {key: clip.clip.name for clip in clips for key in _recording_keys(clip.clip)}
    for name, folder in runs.items():
        for part, spec in load_run_recipe(folder).datasets.items():
            for clip in open_dataset(spec).train if part != "retention" else []:
                if seen := next((held_out[key] for key in _recording_keys(clip) if key in held_out), None):
                    raise DataError(
                        f"{name} was trained on {seen}, a clip of this evaluation",
                        where=str(folder),
                        hint="Evaluate it on held-out clips of its own dataset, or leave it out.",
                    )


def _drop_repeated(parts: dict[str, list[LatentClip]]) -> int:
    """Remove clips that an earlier part already has. Return how many were removed."""
    seen: set[str] = set()
    repeated = 0
    for domain, clips in parts.items():
        fresh = [clip for clip in clips if content_digest(clip.clip) not in seen]
        repeated += len(clips) - len(fresh)
        seen |= {content_digest(clip.clip) for clip in clips}
        parts[domain] = fresh
    return repeated


def _check_columns(columns: Sequence[int], parts: Mapping[str, Sequence[LatentClip]]) -> None:
    for clip in (clip for clips in parts.values() for clip in clips):
        states_TS = clip.clip.states
        if states_TS is not None and columns and max(columns) >= states_TS.shape[1]:
            what = f"no state column {max(columns)}: the states of {clip.clip.source} have {states_TS.shape[1]} columns"
            raise DataError(what, where="--gripper-columns", hint="Use existing columns, counted from 0.")


def _training_notes(first: HeldOut, run: TrainedRun, columns: Sequence[int]) -> Iterator[str]:
    used, total = len(first.trained_on), sum(not clip.augmentation.copy for clip in first.dataset.train)
    if used < total:
        yield (
            f"Memorization ratio and nearest training clip are based on {used} of the {total} training clips of "
            f"{run.name}."
        )
    names = first.dataset.state_names
    if columns and names and max(columns) < len(names):
        chosen = ", ".join(names[column] for column in columns)
        yield f"The gripper position is {chosen} of the states, assumed to be in meters."


def _rename_episode(clip: LatentClip, prefix: str) -> LatentClip:
    """Return the clip with a prefix to its episode name: two datasets may use the same names."""
    return replace(clip, clip=replace(clip.clip, episode=f"{prefix} {clip.clip.episode}"))


def _recording_keys(clip: Clip) -> list[tuple[str, str]]:
    """Return the digest of each file of a clip, and the position of the recording in the file."""
    return [(digest, inside) for digest, (_, inside) in zip(clip.sha256, clip.footage.locations, strict=True)]
