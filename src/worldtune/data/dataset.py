"""A dataset: the clips of a source, curated and split, with a ledger of the used and unused clips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from worldtune.core.files import digest_json
from worldtune.core.progress import Progress, silent
from worldtune.data.augment import draw_augmentations
from worldtune.data.camera_grid import grid_name
from worldtune.data.candidates import Candidate, find_candidates
from worldtune.data.captioning.captions import Captioner, ReviewedCaption, read_captions
from worldtune.data.clip import Clip, content_digest, file_digests
from worldtune.data.curation.curate import curate
from worldtune.data.episode import Problem
from worldtune.data.faults import Fault, find_faults
from worldtune.data.flips import drop_upside_down_warning
from worldtune.data.ledger import Ledger, Row
from worldtune.data.recordings import read_recordings, tile_recordings
from worldtune.data.sources import Source, choose_cameras, open_spec_source
from worldtune.data.spec import DataSpec
from worldtune.data.splits.leakage import (
    SameFootage,
    annotate_same_footage,
    drop_duplicates,
    find_same_footage,
    mark_leaks,
)
from worldtune.data.splits.predefined_split import find_unused_split
from worldtune.data.splits.split import HELD_OUT, HELD_OUT_CAMERA, HELD_OUT_TASK, TRAIN, assign_splits
from worldtune.errors import DataError


@dataclass(frozen=True)
class Dataset:
    """Clips for training and held out, the ledger, and a digest of what the clips are made of.

    `new_task` and `new_camera` are the clips of the tasks and cameras that the spec holds out. `measured_clips` are all
    clips, including those that curation rejected, each with its row. `problems` are the source's contradictions;
    `faults` say why the dataset must not be trained on as it is. `same_footage` are the pairs of recordings that show
    the same footage. `state_names` name the states' columns; empty if unknown.
    """

    train: list[Clip]
    held_out: list[Clip]
    new_task: list[Clip]
    new_camera: list[Clip]
    measured_clips: list[tuple[Row, Clip]]
    ledger: Ledger
    digest: str
    problems: list[Problem]
    faults: list[Fault]
    same_footage: list[SameFootage]
    state_names: list[str]

    @property
    def clips(self) -> list[Clip]:
        """The clips for training, then the held-out clips."""
        return self.train + self.held_out


def open_dataset(spec: DataSpec) -> Dataset:
    """Return the dataset that `spec` describes.

    A clip that cannot be used has a ledger row with its reason. Raise DataError if the source cannot be read or has a
    fault: nothing is left for training, nothing is held out though held_out > 0, more than max_skipped of its
    recordings give no clip, its frames, states and actions cannot belong together, or held-out footage is also
    training footage.
    """
    dataset = build_dataset(spec)
    check_faults(dataset, spec)
    return dataset


def check_faults(dataset: Dataset, spec: DataSpec) -> None:
    """Raise DataError with the first fault if the dataset must not be trained on as it is."""
    if dataset.faults:
        first = dataset.faults[0]
        raise DataError(first.message, where=first.where or spec.path, hint=first.hint)


def build_dataset(spec: DataSpec, progress: Progress = silent) -> Dataset:
    """Return the dataset as `open_dataset` does, but with its faults instead of raising an error."""
    source = open_spec_source(spec)
    cameras = choose_cameras(source, spec.requested_cameras)
    _check_requested_names(spec, source, cameras)
    captioner = _captioner(spec)
    recordings = tile_recordings(read_recordings(source, cameras, spec.flip, progress), spec)
    candidates = [candidate for recording in recordings for candidate in find_candidates(recording, spec, captioner)]
    candidates = _reject_defective(candidates, spec)
    candidates, pairs = drop_duplicates(candidates, find_same_footage(candidates, spec), spec)
    candidates = assign_splits(candidates, spec, source.predefined_splits)
    pairs = mark_leaks(candidates, pairs)
    candidates = annotate_same_footage(candidates, pairs)
    candidates = [copy for candidate in candidates for copy in _with_augmented_copies(candidate, spec)]
    sets: dict[str, list[Clip]] = {
        name: [
            _with_digests(candidate.clip) for candidate in candidates if candidate.clip and candidate.row.split == name
        ]
        for name in (TRAIN, HELD_OUT, HELD_OUT_TASK, HELD_OUT_CAMERA)
    }
    ledger = Ledger(tuple(candidate.row for candidate in candidates))
    problems = drop_upside_down_warning(source.problems(), spec.flip) + _unused_captions(spec, captioner, ledger)
    if spec.split_by != "predefined":
        problems += find_unused_split(source.predefined_splits, frozenset(row.episode for row in ledger.rows))
    faults = find_faults(spec, source, ledger, problems, pairs)
    return Dataset(
        sets[TRAIN],
        sets[HELD_OUT],
        sets[HELD_OUT_TASK],
        sets[HELD_OUT_CAMERA],
        [(candidate.row, clip) for candidate in candidates if (clip := candidate.clip or candidate.rejected_clip)],
        ledger,
        _digest(spec, sets),
        problems,
        faults,
        pairs,
        source.state_names,
    )


def _check_requested_names(spec: DataSpec, source: Source, cameras: Sequence[str]) -> None:
    for task in [*(spec.tasks or []), *spec.held_out_tasks]:
        if task not in source.tasks:
            matches = get_close_matches(task, source.tasks, n=1)
            hint = (
                f"Did you mean {matches[0]!r}?"
                if matches
                else f"The source has {len(source.tasks)} tasks: `worldtune inspect` lists them."
            )
            raise DataError(f"no episode has the task {task!r}", where=spec.path, hint=hint)
    for camera in spec.held_out_cameras:
        if camera not in cameras or spec.tile is not None:
            hint = f"Use one of {', '.join(cameras)}." if spec.tile is None else "A tiled image is one camera."
            raise DataError(f"held_out_cameras names {camera}, which is not read", where=spec.path, hint=hint)


def _captioner(spec: DataSpec) -> Captioner:
    reviewed = read_captions(Path(spec.captions).expanduser()) if spec.captions else []
    by_recording: dict[tuple[str, str], list[ReviewedCaption]] = {}
    for entry in reviewed:
        by_recording.setdefault((entry.episode, entry.camera), []).append(entry)
    return Captioner(spec.caption, spec.robot or "", spec.viewpoints, by_recording)


def _unused_captions(spec: DataSpec, captioner: Captioner, ledger: Ledger) -> list[Problem]:
    """Return a problem if reviewed captions belong to recordings that were not read."""
    read = {(row.episode, row.camera) for row in ledger.rows}
    unknown = [name for name in captioner.reviewed if name not in read]
    if not unknown:
        return []
    what = f"{len(unknown)} captions belong to recordings that are not read, for example {'/'.join(unknown[0])}"
    if len(unknown) < len(captioner.reviewed):
        return [Problem("warning", str(spec.captions), what)]
    tile = f": the tiled camera is called {grid_name(spec.tile)}" if spec.tile else ""
    return [Problem("error", str(spec.captions), f"no caption belongs to a recording that is read{tile}")]


def _reject_defective(candidates: list[Candidate], spec: DataSpec) -> list[Candidate]:
    """Return the candidates, with those rejected that fail curation."""
    measured = [number for number, candidate in enumerate(candidates) if candidate.quality is not None]
    qualities = [quality for candidate in candidates if (quality := candidate.quality) is not None]
    for number, reason in zip(measured, curate(spec.curate, qualities), strict=True):
        if reason:
            candidates[number] = candidates[number].reject(reason)
    return candidates


def _with_augmented_copies(candidate: Candidate, spec: DataSpec) -> Iterator[Candidate]:
    yield candidate
    if candidate.clip is None or candidate.row.split != TRAIN:
        return
    for augmentation in draw_augmentations(spec.augment, candidate.clip.name, spec.seed):
        yield Candidate(
            replace(candidate.row, augmentation=str(augmentation)),
            replace(candidate.clip, augmentation=augmentation),
            candidate.quality,
        )


def _with_digests(clip: Clip) -> Clip:
    return replace(clip, sha256=file_digests(clip))


def _digest(spec: DataSpec, sets: dict[str, list[Clip]]) -> str:
    """Return the SHA-256 of the spec without its paths, and of the name, caption and content of every clip."""
    identity = {
        name: [[clip.name, clip.caption, content_digest(clip)] for clip in clips] for name, clips in sets.items()
    }
    return digest_json([spec.model_dump(mode="json", exclude={"path", "captions", "action_space"}), identity])
