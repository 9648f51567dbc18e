"""What a reader makes of a dataset, and the reader of robomimic's HDF5.

Every frame, state and action that is read must be what other code finds in the files; what is missing must be told of.
Shapes: T frames, H height, W width, S state and A action dimensions.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldtune.bench.fuzzing.oracle import json_in
from worldtune.bench.fuzzing.pictures import FPS, LENGTH, clip, near
from worldtune.bench.fuzzing.reader import Reader, RefusedError
from worldtune.episodes.dataset import open_dataset
from worldtune.episodes.episode import Episode
from worldtune.episodes.sources import choose_cameras, open_source, read_all
from worldtune.episodes.spec import DataSpec

COUNT = 3
SETTINGS: dict[str, Any] = {"frames": 4, "fps": FPS, "height": 64, "width": 64, "max_loss": 1, "caption": "a robot"}


@dataclass(frozen=True, eq=False, repr=False)
class Recording:
    """One, as a reader or an oracle has it; `tasks` are the texts that it may have.

    `exact`: its frames are kept without loss.
    """

    frames_THWC: np.ndarray
    rate: float
    tasks: tuple[str, ...] = ("",)
    states_TS: np.ndarray | None = None
    actions_TA: np.ndarray | None = None
    exact: bool = False

    def __repr__(self) -> str:
        return f"{self.frames_THWC.shape} at {self.rate:g} fps, {' or '.join(self.tasks)!r:.40}"

    def means(self, other: "Recording", told: bool) -> bool:
        """Is it the other, whose rate is 0 and whose rows are None where the oracle does not look at them?"""
        shows = np.array_equal if self.exact else near
        rows = ((self.states_TS, other.states_TS), (self.actions_TA, other.actions_TA))
        return (
            shows(self.frames_THWC, other.frames_THWC)
            and (not other.rate or abs(self.rate / other.rate - 1) < 0.02)
            and set(self.tasks) <= {*other.tasks, *([""] if told else [])}
            and all(
                theirs is None or mine is None or np.array_equal(mine, theirs, equal_nan=True) for mine, theirs in rows
            )
        )


def read(path: Path, *, exact: bool = False, **settings: Any) -> dict[str, Any]:
    """Every recording that clips are made of, as training would open the dataset; and whether a loss was told."""
    dataset = open_dataset(DataSpec.model_validate({"path": str(path)} | SETTINGS | settings))
    source = open_source(str(path), settings.get("recorded_fps"))
    used = {(clip.episode, clip.camera) for clip in dataset.clips}
    found: dict[str, Any] = {"told": bool(dataset.problems) or any(not row.kept for row in dataset.ledger.rows)}
    for each in read_all(source, choose_cameras(source, None)):
        if isinstance(each, Episode) and (each.name, each.camera) in used:
            frames_THWC = np.stack([frame_HWC for _, frame_HWC in each.footage.frames(range(each.frames))])
            found[f"{each.name} {each.camera}"] = Recording(
                frames_THWC, each.fps, (each.task or each.caption,), each.states, each.actions, exact
            )
    return found


def agree(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Is every recording the expected one, and is it told where one, or a task's text, is lacking?"""
    names = [name for name in found if name != "told"]
    lacking = {name for name in expected if name != "told"} - set(names)
    return (found["told"] or not lacking) and all(
        name in expected and found[name].means(expected[name], found["told"]) for name in names
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


def _hdf5_of(folder: Path) -> dict[str, Any]:
    """Read by h5py; links out of the file are RefusedError."""
    import h5py

    try:
        with h5py.File(folder / "demos.hdf5", "r") as file:
            about = json_in(_string(file["data"].attrs["env_args"]))
            rate, task = about["env_kwargs"]["control_freq"], about.get("language_instruction", "")
            return {f"{name} front_image": _demo(demo, rate, task) for name, demo in file["data"].items()}
    except (OSError, LookupError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError) as error:
        raise RefusedError(f"it cannot be understood: {error!r}") from error


def _string(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _demo(demo: Any, rate: float, task: str) -> Recording:
    arrays = [demo["obs/front_image"], demo["obs/robot0_joint_pos"], demo["actions"]]
    if any(array.file.filename != demo.file.filename or array.nbytes > 1 << 30 for array in arrays):
        raise RefusedError("it leads out of the file, or without end")
    frames_THWC, states, actions = (np.asarray(array) for array in arrays)
    if frames_THWC.dtype != np.uint8 or frames_THWC.ndim != 4:
        raise RefusedError("its pictures are none")
    states_TS, actions_TA = (np.asarray(part, np.float32).reshape(len(part), -1) for part in (states, actions))
    return Recording(frames_THWC, rate, (task,), states_TS, actions_TA)


def reading(name: str, *, exact: bool = False, **settings: Any) -> Callable[[Path], Any]:
    return lambda folder: read(folder / name, exact=exact, **settings)


READERS = (Reader("HDF5", "h5py", _make_hdf5, reading("demos.hdf5", exact=True), _hdf5_of, agree=agree),)
