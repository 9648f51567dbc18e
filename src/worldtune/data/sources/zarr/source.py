"""Zarr groups of UMI and diffusion policy, read in place: each array has all episodes one after the other.

Format: diffusion_policy/common/replay_buffer.py of github.com/real-stanford/diffusion_policy: `meta/episode_ends`, and
in `data` the images (N, H, W, 3), the states and `action`. UMI's are zip files with `camera0_rgb`, `robot0_eef_pos`
and others (github.com/real-stanford/universal_manipulation_interface).

Shapes: N frames of all episodes, T of one, H height, W width, S state and A action dimensions.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from worldtune.data.episode import Episode, Problem, SkippedRecording
from worldtune.data.ledger import DEPTH, MASK
from worldtune.data.sources.depth import is_depth_array, is_mask_array
from worldtune.data.sources.path_checks import displayable_name, link_note, unreadable_reason
from worldtune.data.sources.zarr.arrays import Array, open_array
from worldtune.data.sources.zarr.images import ZarrImages, is_scaled_to_255
from worldtune.data.sources.zarr.store import Store
from worldtune.data.video.file_cache import file_state
from worldtune.errors import DataError

HINT = "Export it as diffusion policy's ReplayBuffer does: data/… and meta/episode_ends."
EPISODE_ENDS = "meta/episode_ends"
ACTION_NAMES = ("action", "actions")
STATE_NAMES = re.compile(
    r"state|agent_pos|robot\d*_(eef_pos|eef_pose|eef_rot_axis_angle|gripper_width|joint|gripper_qpos)"
)


@dataclass(frozen=True)
class ZarrContents:
    """A Zarr group: by camera its array or why it has no images, numeric arrays, and the end of each episode."""

    cameras: dict[str, Array | str]
    numbers: dict[str, Array]
    ends: tuple[int, ...]
    scaled_to_255: frozenset[str]

    @property
    def states(self) -> list[str]:
        """The names of the arrays of states; [] if one of them cannot be read, as the columns would shift."""
        if any(STATE_NAMES.fullmatch(name) for name in self.cameras):
            return []
        return [name for name in self.numbers if STATE_NAMES.fullmatch(name)]


def is_zarr(root: Path) -> bool:
    """Return whether the path is a Zarr group: a folder with Zarr metadata, or a zip file with that extension."""
    if root.is_dir():
        return any((root / name).is_file() for name in (".zgroup", "zarr.json")) or (root / "data/.zgroup").is_file()
    return root.name.lower().endswith((".zarr.zip", ".zarr"))


@lru_cache(maxsize=64)
def read_group(root: Path, state: str) -> ZarrContents:
    """Return the contents; `state` changes whenever the group does. Raise DataError for other layouts or damage."""
    store = Store(root)
    if not store.array_file(EPISODE_ENDS):
        raise DataError(f"the array {EPISODE_ENDS} is missing", where=displayable_name(str(root)), hint=HINT)
    ends_E = _ends(open_array(store, EPISODE_ENDS), root)
    cameras: dict[str, Array | str] = {}
    numbers: dict[str, Array] = {}
    for name in store.names("data"):
        try:
            array = open_array(store, f"data/{name}")
            reason = _unusable_reason(name, array, int(ends_E[-1]))
        except DataError as error:
            cameras[displayable_name(name)] = error.what
            continue
        if reason is not None:
            cameras[displayable_name(name)] = reason or array
        elif len(array.shape) == 2 and array.dtype.kind in "fiub":
            numbers[name] = array
    scaled_to_255 = frozenset(
        name for name, array in cameras.items() if isinstance(array, Array) and is_scaled_to_255(array)
    )
    return ZarrContents(cameras, numbers, tuple(ends_E.tolist()), scaled_to_255)


def _ends(array: Array, root: Path) -> np.ndarray:
    if len(array.shape) != 1 or array.dtype.kind not in "iu":
        raise DataError(f"{EPISODE_ENDS} is not a row of whole numbers", where=displayable_name(str(root)), hint=HINT)
    ends_E = array.rows(0, array.shape[0]).astype(np.int64)
    if not len(ends_E) or ends_E[0] < 0 or (np.diff(ends_E) < 0).any():
        raise DataError(f"{EPISODE_ENDS} does not rise", where=displayable_name(str(root)), hint=HINT)
    return ends_E


def _unusable_reason(name: str, array: Array, frames: int) -> str | None:
    """Return why an array has no usable images, "" if it has, None if it is not a camera."""
    shape, dtype = array.shape, array.dtype
    if displayable_name(name) != name:
        return "its name is not UTF-8"
    if is_depth_array(name, shape, dtype):
        return DEPTH
    if is_mask_array(name, shape):
        return MASK
    if len(shape) != 4:
        return None
    if (
        shape[3] not in (1, 3, 4)
        or not shape[1] * shape[2]
        or not (dtype in (np.uint8, np.uint16) or dtype.kind == "f")
    ):
        return f"not images as uint8 (N, H, W, 3), but {dtype} {shape}"
    return f"fewer frames than {EPISODE_ENDS} states ({shape[0]} of {frames})" if shape[0] < frames else ""


class ZarrSource:
    """A group, or a folder of groups; each is a session. There are no task texts."""

    kind = "Zarr"

    def __init__(self, path: str, root: Path, recorded_fps: float | None) -> None:
        self.path = path
        self._roots = [root] if is_zarr(root) else sorted(entry for entry in root.iterdir() if is_zarr(entry))
        self._folder = None if is_zarr(root) else root
        self._contents: dict[Path, ZarrContents] = {}
        self._faults: dict[Path, str] = {}
        for entry in self._roots:
            try:
                if fault := "" if entry.is_dir() else unreadable_reason(entry):
                    raise DataError(fault, where=displayable_name(str(entry)), hint="Restore it, or remove it.")
                self._contents[entry] = read_group(entry, _state(entry))
            except DataError as error:
                self._faults[entry] = error.what
        self.cameras = sorted({camera for contents in self._contents.values() for camera in contents.cameras})
        self.available_cameras = self.cameras
        names = [self._names(contents) for contents in self._contents.values()]
        self.state_names: list[str] = names[0] if names and all(entry == names[0] for entry in names) else []
        self.tasks: list[str] = []
        self.predefined_splits: dict[str, frozenset[str]] = {}
        if not any(
            isinstance(array, Array) for contents in self._contents.values() for array in contents.cameras.values()
        ):
            raise self._no_images_error()
        if recorded_fps is None:
            hint = "Add data.recorded_fps (inspect, check: --recorded-fps): UMI records 59.94, diffusion policy 10."
            raise DataError("Zarr groups do not state their frame rate", where=path, hint=hint)
        self._fps = recorded_fps

    def _no_images_error(self) -> DataError:
        for root, fault in self._faults.items():
            return DataError(fault, where=displayable_name(str(root)), hint=HINT)
        reasons = (
            cause
            for contents in self._contents.values()
            for cause in contents.cameras.values()
            if isinstance(cause, str)
        )
        return DataError(next(reasons, "no array in data/ has images (N, H, W, 3)"), where=self.path, hint=HINT)

    @staticmethod
    def _names(contents: ZarrContents) -> list[str]:
        widths = [(name, contents.numbers[name].shape[1]) for name in contents.states]
        return [f"{name}_{column}" if width > 1 else name for name, width in widths for column in range(width)]

    @property
    def count(self) -> int:
        return sum(len(contents.ends) for contents in self._contents.values()) + len(self._faults)

    def _session(self, root: Path) -> str:
        return displayable_name(root.name.removesuffix(".zip").removesuffix(".zarr"))

    def recordings(self, cameras: Sequence[str]) -> Iterator[Episode | SkippedRecording]:
        for root in self._roots:
            session = self._session(root)
            if root in self._faults:
                yield from (
                    SkippedRecording(session, camera, "", "", 0, self._fps, self._faults[root], session)
                    for camera in cameras
                )
                continue
            for number, (start, end) in enumerate(pairwise((0, *self._contents[root].ends))):
                name = f"episode_{number}" if len(self._roots) == 1 else f"{session}/episode_{number}"
                for camera in cameras:
                    try:
                        yield self._episode(root, camera, name, start, end)
                    except DataError as error:
                        yield SkippedRecording(name, camera, "", "", end - start, self._fps, error.what, session)

    def _episode(self, root: Path, camera: str, name: str, start: int, end: int) -> Episode:
        contents = self._contents[root]
        array = contents.cameras.get(camera, "the group has no images of this camera")
        if isinstance(array, Array) and start == end:
            array = "the episode has no frames"
        if isinstance(array, str):
            raise DataError(array, where=f"{root} {camera}", hint="Remove it.")
        footage = ZarrImages(root, f"data/{camera}", start, end, camera in contents.scaled_to_255)
        footage.frame_features(end - start)  # raises if one cannot be read
        actions = [numbers for key in ACTION_NAMES if (numbers := contents.numbers.get(key)) is not None]
        states = [contents.numbers[key] for key in contents.states] if self.state_names else []
        return Episode(
            name=name,
            camera=camera,
            task="",
            caption="",
            footage=footage,
            frames=end - start,
            fps=self._fps,
            height=array.shape[1],
            width=array.shape[2],
            states=_rows(states, start, end),
            actions=_rows(actions[:1], start, end),
            session=self._session(root),
            note=link_note(footage.locations[0][0], self._folder) if self._folder else "",
        )

    def problems(self) -> list[Problem]:
        found = [Problem("warning", displayable_name(root.name), fault) for root, fault in self._faults.items()]
        for root, contents in self._contents.items():
            where, last = displayable_name(root.name), contents.ends[-1]
            for camera, reason in contents.cameras.items():
                if isinstance(reason, str) and reason not in (DEPTH, MASK):
                    found.append(Problem("warning", where, f"{camera}: {reason}", camera))
            for name in (*contents.states, *(key for key in ACTION_NAMES if key in contents.numbers)):
                if (rows := contents.numbers[name].shape[0]) < last:
                    found.append(Problem("error", where, f"{name}: {rows} rows, but {last} frames"))
        return found


def _rows(arrays: list[Array], start: int, end: int) -> np.ndarray | None:
    """Return float32 (T, S): the rows of all arrays, side by side, or None without arrays."""
    if not arrays:
        return None
    parts = [array.rows(start, min(end, array.shape[0])).astype(np.float32) for array in arrays]
    shortest = min(map(len, parts))
    return np.concatenate([part[:shortest] for part in parts], axis=1)


def _state(root: Path) -> str:
    """Return a text that changes whenever the group does, as far as its metadata show."""
    if not root.is_dir():
        return file_state(root)
    return " ".join(file_state(file) for file in sorted(root.glob("*/*/.zarray")) + sorted(root.glob("*/*/zarr.json")))
