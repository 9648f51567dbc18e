"""RLDS datasets as tensorflow-datasets writes them, read in place without TensorFlow: one record per episode.

Format: github.com/google-research/rlds; tensorflow.org/datasets/external_tfrecord for the files' names and metadata. In
a record, each feature of the steps is one list: `steps/observation/image` has as many JPEGs or PNGs as there are steps.

Shapes: T steps, S state and A action dimensions.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from worldtune.core.strict_io import read_json
from worldtune.data.captioning.captions import control_character_note
from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.ledger import DEPTH
from worldtune.data.sources.path_checks import displayable_name, link_note, unreadable_reason
from worldtune.data.sources.rlds.features import HINT, StepFeatures, read_step_features
from worldtune.data.sources.rlds.images import RldsImages, get_bytes_list
from worldtune.data.sources.rlds.tfrecord import Feature, Record, read_example, read_records
from worldtune.errors import DataError

SHARD_NAME = re.compile(r"(?P<set>.+)-(?P<split>[^-]+)\.tfrecord(-(?P<number>\d+)-of-(?P<count>\d+))?")


def is_rlds(root: Path) -> bool:
    return root.is_dir() and (root / "features.json").is_file() and (root / "dataset_info.json").is_file()


class RldsSource:
    """A folder of one version of a dataset. A split is a session; names are `split_N`."""

    kind = "RLDS"

    def __init__(self, path: str, root: Path, recorded_fps: float | None) -> None:
        self.path = path
        self._folder = root
        self._steps: StepFeatures = read_step_features(root / "features.json")
        self.cameras = sorted(self._steps.cameras)
        self.available_cameras = self.cameras
        self.state_names: list[str] = []
        if all(fault for _, fault in self._steps.cameras.values()):
            fault = next((fault for _, fault in self._steps.cameras.values()), "no feature of its steps has images")
            raise DataError(fault, where=str(root / "features.json"), hint="Choose a dataset with images.")
        if recorded_fps is None:
            hint = "Add data.recorded_fps (inspect, check: --recorded-fps): DROID has 15, BridgeData 5, Fractal 3."
            raise DataError("RLDS datasets do not state their frame rate", where=path, hint=hint)
        self._fps = recorded_fps
        self._records: list[tuple[str, Record]] = []
        self._faults: dict[str, str] = {}
        for split, shard in self._shards():
            self._read_index(split, shard)
        self.predefined_splits = self._read_predefined_splits()

    def _shards(self) -> Iterator[tuple[str, Path]]:
        """Yield the existing files with their splits, in order; files that are only promised become faults."""
        files = {
            displayable_name(file.name): file for file in sorted(self._folder.iterdir()) if ".tfrecord" in file.name
        }
        for name in self._listed_files():
            if name not in files:
                self._faults[name] = "the file is missing"
        for name, file in files.items():
            found = SHARD_NAME.fullmatch(name)
            if found is None:
                self._faults[name] = "its name is not one that tensorflow-datasets writes"
            else:
                yield found["split"], file

    def _listed_files(self) -> Iterator[str]:
        path = self._folder / "dataset_info.json"
        info = read_json(path, hint=HINT)
        try:
            if info.get("fileFormat", "tfrecord") != "tfrecord":
                what = f"its files have the format {info['fileFormat']!r}"
                raise DataError(what, where=str(path), hint="Store it as tfrecord, or convert it to LeRobot.")
            for split in info["splits"]:
                count = len(split.get("shardLengths", []))
                for number in range(count):
                    yield f"{info['name']}-{split['name']}.tfrecord-{number:05d}-of-{count:05d}"
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError("it does not list its splits", where=str(path), hint=HINT) from error

    def _read_index(self, split: str, shard: Path) -> None:
        if fault := unreadable_reason(shard):
            self._faults[displayable_name(shard.name)] = fault
            return
        try:
            for record in read_records(shard):
                self._records.append((split, record))
        except DataError as error:
            self._faults[displayable_name(shard.name)] = error.what

    def _read_predefined_splits(self) -> dict[str, frozenset[str]]:
        names: dict[str, set[str]] = {}
        for name, split, _ in self._named_records():
            names.setdefault(split, set()).add(name)
        return {split: frozenset(episodes) for split, episodes in names.items()}

    def _named_records(self) -> Iterator[tuple[str, str, Record]]:
        """Yield each record with its episode's name and its split."""
        counts: dict[str, int] = {}
        for split, record in self._records:
            number = counts[split] = counts.get(split, -1) + 1
            yield f"{split}_{number}", split, record

    @property
    def count(self) -> int:
        return len(self._records) + len(self._faults)

    @cached_property
    def tasks(self) -> list[str]:
        found: dict[str, None] = {}
        for _, record in self._records:
            try:
                found |= dict.fromkeys(self._tasks(read_example(record))[:1])
            except DataError:
                continue  # `recordings` reports it as skipped
        return list(found)

    def _tasks(self, example: dict[str, Feature]) -> list[str]:
        """Return the task texts of the first feature that has any, each once."""
        for name in self._steps.texts:
            texts = (bytes(text).decode("utf-8", "replace").strip() for text in get_bytes_list(example, name))
            if found := list(dict.fromkeys(text for text in texts if text)):
                return found
        return []

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        for name, split, record in self._named_records():
            yield from self._episodes(name, split, record, cameras)
        for name, fault in self._faults.items():
            yield from (SkippedRecording(name, camera, "", "", 0, self._fps, fault) for camera in cameras)

    def _episodes(
        self, name: str, split: str, record: Record, cameras: Sequence[str]
    ) -> Iterator[Episode | SkippedRecording]:
        example: dict[str, Feature] = {}
        unreadable = ""
        try:
            example = read_example(record)
        except DataError as error:
            unreadable = error.what
        task = next(iter(self._tasks(example)), "")
        for camera in cameras:
            try:
                if unreadable:
                    raise DataError(unreadable, where=str(record.file), hint="Copy it again.")
                yield self._episode(name, split, record, camera, example)
            except DataError as error:
                yield SkippedRecording(name, camera, task, task, 0, self._fps, error.what, split)

    def _episode(self, name: str, split: str, record: Record, camera: str, example: dict[str, Feature]) -> Episode:
        feature, fault = self._steps.cameras[camera]
        frames, tasks = len(get_bytes_list(example, feature)), self._tasks(example)
        if fault or not frames:
            raise DataError(fault or "the episode has no images of this camera", where=str(record.file), hint=HINT)
        footage = RldsImages(record, feature)
        footage.frame_features(frames)  # raises if one does not decode
        height, width, _ = next(footage.frames([0]))[1].shape
        ambiguous = f"{len(tasks)} task texts; the first is used" if len(tasks) > 1 else ""
        task = tasks[0] if tasks else ""
        notes = [ambiguous, link_note(record.file, self._folder), control_character_note(task)]
        return Episode(
            name=name,
            camera=camera,
            task=task,
            caption=task,
            footage=footage,
            frames=frames,
            fps=self._fps,
            height=height,
            width=width,
            states=_rows(example, self._steps.states),
            actions=_rows(example, [self._steps.action] if self._steps.action else []),
            session=split,
            note="; ".join(filter(None, notes)),
        )

    def problems(self) -> list[Problem]:
        found = [Problem("warning", name, fault) for name, fault in self._faults.items()]
        if self._steps.unread:
            found.append(Problem("warning", "features.json", "steps/action has several parts, which are not read"))
        for camera, (_, fault) in self._steps.cameras.items():
            if fault and fault != DEPTH:
                found.append(Problem("warning", "features.json", f"{camera}: {fault}", camera))
        return found


def _rows(example: dict[str, Feature], features: list[tuple[str, int]]) -> np.ndarray | None:
    """Return float32 (T, S): the features side by side; None if one is missing or has incomplete rows."""
    parts = [example[name].float_list.reshape(-1, width) for name, width in features if _is_whole(example, name, width)]
    if not parts or len(parts) < len(features) or len({len(part) for part in parts}) > 1:
        return None
    return np.concatenate(parts, axis=1)


def _is_whole(example: dict[str, Feature], name: str, width: int) -> bool:
    return name in example and not len(example[name].float_list) % width
