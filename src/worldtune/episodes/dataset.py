"""A dataset: the clips of a source, judged and split, with a ledger of all that was and was not used."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from worldtune.episodes.augment import changes
from worldtune.episodes.candidates import Candidate, candidates
from worldtune.episodes.captions import Captioner, read_captions
from worldtune.episodes.clip import Clip, content_digest, file_digests
from worldtune.episodes.curation import judge
from worldtune.episodes.episode import Problem
from worldtune.episodes.faults import find_faults
from worldtune.episodes.leaks import Shot, copies
from worldtune.episodes.ledger import Ledger, Row
from worldtune.episodes.sources import Advance, Source, choose_cameras, open_source, read_all
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.split import HELD_OUT, HELD_OUT_CAMERA, HELD_OUT_TASK, TRAIN, split
from worldtune.episodes.tiles import name_of
from worldtune.episodes.tiling import tiled
from worldtune.episodes.twins import twins
from worldtune.errors import DataError
from worldtune.files import digest_json


@dataclass(frozen=True)
class Dataset:
    """Clips for training and held out, the ledger, and a digest of what the clips are made of.

    `new_task` and `new_camera` are the clips of the tasks and cameras that the spec holds out. `looked_at`: all clips
    and those that curation refused, each with its row. `problems` are the source's contradictions; `faults` say why
    it must not be trained on as it is. `state_names` are those of the states' columns, none where they are not known.
    """

    train: list[Clip]
    held_out: list[Clip]
    new_task: list[Clip]
    new_camera: list[Clip]
    looked_at: list[tuple[Row, Clip]]
    ledger: Ledger
    digest: str
    problems: list[Problem]
    faults: list[str]
    state_names: list[str]

    @property
    def clips(self) -> list[Clip]:
        """Those for training, then those held out."""
        return self.train + self.held_out


def open_dataset(spec: DataSpec) -> Dataset:
    """The dataset that `spec` describes.

    A clip that cannot be used is a ledger row with its reason. Raises DataError when the source cannot be read
    or has a fault: nothing is left for training, nothing is held out though held_out > 0, more than max_loss of
    its recordings give no clip, its frames, states and actions cannot belong together, or a held-out clip shows what
    one for training shows.
    """
    dataset = take_stock(spec)
    if dataset.faults:
        mend = "`worldtune check` says which: mend them, choose by data.cameras and data.tasks, or raise data.max_loss."
        if not dataset.clips:
            reasons = "; ".join(f"{count}: {reason}" for reason, count in dataset.ledger.reasons().items())
            mend = f"Not used: {reasons}." if reasons else "The source has no recordings."
        raise DataError(dataset.faults[0], where=spec.path, mend=mend)
    return dataset


def take_stock(spec: DataSpec, advance: Advance = lambda done, total: None) -> Dataset:
    """As `open_dataset`, but a dataset with faults is returned, for its ledger."""
    source = open_source(spec.path, spec.recorded_fps)
    cameras = choose_cameras(source, spec.asked_cameras)
    _refuse_unknown(spec, source, cameras)
    captioner = _captioner(spec)
    recordings = tiled(read_all(source, cameras, advance), spec)
    found = [each for recording in recordings for each in candidates(recording, spec, captioner)]
    found, pairs = _curated(found, spec)
    found = split(found, spec)
    leaks = _leaks(found, pairs) or list(_copies(found))
    found = [copy for each in found for copy in _with_copies(each, spec)]
    sets: dict[str, list[Clip]] = {
        name: [_named(each.clip) for each in found if each.clip and each.row.split == name]
        for name in (TRAIN, HELD_OUT, HELD_OUT_TASK, HELD_OUT_CAMERA)
    }
    ledger = Ledger(tuple(each.row for each in found))
    problems = source.problems() + _captions_of_nothing(spec, captioner, ledger)
    faults = find_faults(spec, source, ledger, problems, leaks)
    return Dataset(
        sets[TRAIN],
        sets[HELD_OUT],
        sets[HELD_OUT_TASK],
        sets[HELD_OUT_CAMERA],
        [(each.row, clip) for each in found if (clip := each.clip or each.seen)],
        ledger,
        _digest(spec, sets),
        problems,
        faults,
        source.state_names,
    )


def _refuse_unknown(spec: DataSpec, source: Source, cameras: Sequence[str]) -> None:
    for task in [*(spec.tasks or []), *spec.held_out_tasks]:
        if task not in source.tasks:
            near = get_close_matches(task, source.tasks, n=1)
            mend = f"Did you mean {near[0]!r}?" if near else f"The source has {len(source.tasks)} tasks: see inspect."
            raise DataError(f"no episode has the task {task!r}", where=spec.path, mend=mend)
    for camera in spec.held_out_cameras:
        if camera not in cameras or spec.tile is not None:
            mend = f"One of: {', '.join(cameras)}." if spec.tile is None else "A tiled picture is one camera."
            raise DataError(f"held_out_cameras names {camera}, which is not read", where=spec.path, mend=mend)


def _captioner(spec: DataSpec) -> Captioner:
    reviewed = read_captions(Path(spec.captions).expanduser()) if spec.captions else []
    by_recording = {(entry.episode, entry.camera): entry for entry in reviewed}
    return Captioner(spec.caption, spec.robot or "", spec.viewpoints, by_recording)


def _captions_of_nothing(spec: DataSpec, captioner: Captioner, ledger: Ledger) -> list[Problem]:
    """The reviewed captions of recordings that are not among those that were read."""
    read = {(row.episode, row.camera) for row in ledger.rows}
    unknown = [name for name in captioner.reviewed if name not in read]
    if not unknown:
        return []
    what = f"{len(unknown)} captions are of no recording that is read, as of {'/'.join(unknown[0])}"
    if len(unknown) < len(captioner.reviewed):
        return [Problem("warning", str(spec.captions), what)]
    tile = f": the tiled camera is called {name_of(spec.tile)}" if spec.tile else ""
    return [Problem("error", str(spec.captions), f"none of its captions is of a recording that is read{tile}")]


def _curated(found: list[Candidate], spec: DataSpec) -> tuple[list[Candidate], list[tuple[str, str]]]:
    """The candidates, those that do not do refused; the names of the others that show the same, in pairs."""
    seen = [number for number, each in enumerate(found) if each.sight is not None]
    sights = [sight for each in found if (sight := each.sight) is not None]
    for number, reason in zip(seen, judge(spec.curate, sights), strict=True):
        if reason:
            found[number] = found[number].refused(reason)
    left = [(number, clip, sight) for number, each in enumerate(found) if (clip := each.clip) and (sight := each.sight)]
    pairs = []
    for i, j in twins([sight.thumbs for _, _, sight in left]):
        (first, one, _), (number, other, _) = left[i], left[j]
        if (one.episode, one.camera) == (other.episode, other.camera):
            continue
        if found[first].clip is None or found[number].clip is None:  # a duplicate already
            continue
        if spec.curate.duplicates and _same_actions(one, other):
            found[number] = found[number].refused(f"duplicate (of {one.name})")
        else:
            pairs.append((one.name, other.name))
    return found, pairs


def _same_actions(one: Clip, other: Clip) -> bool:
    """Are the action trajectories the same, or are there none?"""
    if one.actions is None or other.actions is None:
        return one.actions is other.actions
    if one.actions.shape != other.actions.shape:
        return False
    return bool(np.abs(one.actions - other.actions).max(initial=0) <= 1e-3 * max(np.ptp(one.actions), 1e-3))


def _leaks(found: Sequence[Candidate], pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Of the pairs that show the same, those of a clip for training and one that is held out: (held out, training)."""
    split_of = {each.clip.name: each.row.split for each in found if each.clip}
    ordered = [sorted(pair, key=lambda name: split_of.get(name) == TRAIN) for pair in pairs]
    return [(f"clip {a}", b) for a, b in ordered if split_of.get(b) == TRAIN and split_of.get(a, TRAIN) != TRAIN]


def _copies(found: Sequence[Candidate]) -> Iterator[tuple[str, str]]:
    """(held out, for training): recordings that share footage, however their clips were cut."""
    sides: dict[bool, list[Shot]] = {True: [], False: []}
    for each in found:
        if each.clip is not None and each.reel is not None:
            sides[each.row.split == TRAIN].append(Shot(each.reel, each.clip.picks))
    if all(sides.values()):
        yield from ((f"recording {held}", trained) for held, trained in copies(sides[False], sides[True]))


def _with_copies(each: Candidate, spec: DataSpec) -> Iterator[Candidate]:
    yield each
    if each.clip is None or each.row.split != TRAIN:
        return
    for change in changes(spec.augment, each.clip.name, spec.seed):
        yield Candidate(replace(each.row, change=str(change)), replace(each.clip, change=change), each.sight)


def _named(clip: Clip) -> Clip:
    return replace(clip, sha256=file_digests(clip))


def _digest(spec: DataSpec, sets: dict[str, list[Clip]]) -> str:
    """SHA-256 over the spec without its paths and the name, caption and content of every clip of every set."""
    identity = {
        name: [[clip.name, clip.caption, content_digest(clip)] for clip in clips] for name, clips in sets.items()
    }
    return digest_json([spec.model_dump(mode="json", exclude={"path", "captions"}), identity])
