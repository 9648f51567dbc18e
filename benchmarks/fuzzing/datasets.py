"""What a reader makes of a dataset, and the reader of robomimic's HDF5.

Every frame, state and action that is read must be what other code finds in the files; missing ones must be reported.
Shapes: T frames, H height, W width, S state and A action dimensions.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fuzzing.oracle import parse_json
from benchmarks.fuzzing.pictures import FPS, LENGTH, clip, images_close
from benchmarks.fuzzing.reader import Reader, RefusedError
from worldtune.data.dataset import open_dataset
from worldtune.data.episode import Episode
from worldtune.data.sources import choose_cameras, open_spec_source
from worldtune.data.spec import DataSpec

COUNT = 3
HDF5_FAULTS = (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError)
"""What h5py raises for a damaged file."""
SETTINGS: dict[str, Any] = {"frames": 4, "fps": FPS, "height": 64, "width": 64, "max_skipped": 1, "caption": "a robot"}


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """A recording, as a reader or an oracle returns it; `tasks` are the texts that it may have.

    `exact`: whether its frames are stored without loss.
    """

    frames_THWC: np.ndarray
    rate: float
    tasks: tuple[str, ...] = ("",)
    states_TS: np.ndarray | None = None
    actions_TA: np.ndarray | None = None
    exact: bool = False

    def __repr__(self) -> str:
        return f"{self.frames_THWC.shape} at {self.rate:g} fps, {' or '.join(self.tasks)!r:.40}"

    def differing(self, other: "Recording", loss_reported: bool) -> list[str]:
        """Return the parts that differ from `other`; its rate is 0 and its rows are None if the oracle ignores them.

        If a loss was reported, rows and text may be missing.
        """
        same_frames = np.array_equal if self.exact else images_close
        is_same = {
            "frames": same_frames(self.frames_THWC, other.frames_THWC),
            "rate": not other.rate or abs(self.rate / other.rate - 1) < 0.02,
            "text": set(self.tasks) <= {*other.tasks, *([""] if loss_reported else [])},
            "states": _rows_agree(self.states_TS, other.states_TS, loss_reported),
            "actions": _rows_agree(self.actions_TA, other.actions_TA, loss_reported),
        }
        return [part for part, same in is_same.items() if not same]


def _rows_agree(mine: np.ndarray | None, theirs: np.ndarray | None, loss_reported: bool) -> bool:
    if mine is None or theirs is None:
        return theirs is None or loss_reported
    return np.array_equal(mine, theirs, equal_nan=True)


def read_dataset(path: Path, *, exact: bool = False, **settings: Any) -> dict[str, Any]:
    """Return every recording with used clips, as training would open the dataset, and whether a loss was reported."""
    spec = DataSpec.model_validate({"path": str(path)} | SETTINGS | settings)
    dataset, source = open_dataset(spec), open_spec_source(spec)
    used = {(clip.episode, clip.camera) for clip in dataset.clips}
    found: dict[str, Any] = {
        "loss_reported": bool(dataset.problems) or any(not row.kept for row in dataset.ledger.rows)
    }
    for episode in source.recordings(choose_cameras(source, None)):
        if isinstance(episode, Episode) and (episode.name, episode.camera) in used:
            frames_THWC = np.stack([frame_HWC for _, frame_HWC in episode.footage.frames(range(episode.frames))])
            found[f"{episode.name} {episode.camera}"] = Recording(
                frames_THWC, episode.fps, (episode.task or episode.caption,), episode.states, episode.actions, exact
            )
    return found


def agree(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Return whether every recording is as expected, and each missing recording or task text is reported."""
    names = [name for name in found if name != "loss_reported"]
    lacking = {name for name in expected if name != "loss_reported"} - set(names)
    return (found["loss_reported"] or not lacking) and all(
        name in expected and not found[name].differing(expected[name], found["loss_reported"]) for name in names
    )


def _make_hdf5(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "demos.hdf5", "w", libver="earliest") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_kwargs": {"control_freq": FPS}, "language_instruction": "lift"})
        for number in range(COUNT):
            demo = data.create_group(f"demo_{number}")
            demo["actions"] = np.arange(LENGTH * 3, dtype=np.float32).reshape(LENGTH, 3) + number
            demo["obs/robot0_joint_pos"] = np.arange(LENGTH * 7, dtype=np.float64).reshape(LENGTH, 7) + number
            demo["obs/front_image"] = clip(number)


def _expect_hdf5(folder: Path) -> dict[str, Any]:
    """Return what h5py reads. Raise RefusedError for links to other files."""
    import h5py

    try:
        with h5py.File(folder / "demos.hdf5", "r") as file:
            env_args = parse_json(decode_text(file["data"].attrs["env_args"]))
            rate, task = env_args["env_kwargs"]["control_freq"], env_args.get("language_instruction", "")
            return {f"{name} front_image": _read_demo(demo, rate, task) for name, demo in file["data"].items()}
    except HDF5_FAULTS as error:
        raise RefusedError(f"it cannot be understood: {error!r}") from error


def decode_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


def read_array(group: Any, name: str) -> np.ndarray:
    """Return the dataset's values. Raise RefusedError if it is in another file, or too large."""
    found = group[name]
    if found.file.filename != group.file.filename or found.nbytes > 1 << 30:
        raise RefusedError("it is in another file, or too large")
    return np.asarray(found)


def read_rows(group: Any, *names: str) -> np.ndarray | None:
    """Return float32 (T, values) of the existing datasets, side by side; None if none exists."""
    parts = [np.asarray(read_array(group, name), np.float32) for name in names if name in group]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1) if parts else None


def _read_demo(demo: Any, rate: float, task: str) -> Recording:
    frames_THWC = read_array(demo, "obs/front_image")
    states_TS, actions_TA = read_rows(demo, "obs/robot0_joint_pos"), read_rows(demo, "actions")
    if frames_THWC.dtype != np.uint8 or frames_THWC.ndim != 4:
        raise RefusedError("its images are not uint8 (T, H, W, C)")
    return Recording(frames_THWC, rate, (task,), states_TS, actions_TA)


def dataset_reader(name: str, *, exact: bool = False, **settings: Any) -> Callable[[Path], Any]:
    return lambda folder: read_dataset(folder / name, exact=exact, **settings)


READERS = (Reader("HDF5", "h5py", _make_hdf5, dataset_reader("demos.hdf5", exact=True), _expect_hdf5, agree=agree),)
