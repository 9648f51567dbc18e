"""How well copies of footage are told apart from other demonstrations, on synthetic, built-in and given datasets.

Every pair of a dataset's recordings shows different demonstrations, so every pair found is a false alarm. Then copies
of some of them are added, one kind after another, with their states and without.

Shapes: T frames, S + A columns of states and actions.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np

from benchmarks.data.demonstrations import FPS, Demonstration, draw_fixed_camera, draw_wrist_camera
from benchmarks.data.encoding import write_frames
from worldtune.data.curation.near_duplicates import find_near_duplicates
from worldtune.data.curation.recording import Recording, build_recording
from worldtune.data.episode import Episode
from worldtune.data.sources import choose_cameras, open_source
from worldtune.data.video.footage import VideoFootage
from worldtune.data.video.video_index import measure_video, video_frame_features
from worldtune.evaluation.report.figures import Figure, figure

SECONDS = 1.25  # a clip of 21 frames, 16 a second
COPIED = 12  # recordings of a dataset that are copied


@dataclass(frozen=True)
class Rates:
    """The share of pairs of different demonstrations that count as copies, and of added copies that are found."""

    pairs: int
    false_alarms: float
    copies: int
    found: float
    found_by_pictures: float


@dataclass(frozen=True)
class CopyKind:
    """A way to copy: x264's crf, start and end as shares, scale, and frames of the copy per frame of the video."""

    crf: int
    start: float = 0.0
    end: float = 1.0
    scale: float = 1.0
    rate: float = 1.0


KINDS = {
    "encoded again": CopyKind(23),
    "at a lower quality": CopyKind(35),
    "cut short": CopyKind(26, 0.15, 0.8),
    "begun later": CopyKind(26, 0.3),
    "at half the rate": CopyKind(26, rate=0.5),
    "at one and a half times the rate": CopyKind(26, rate=1.5),
    "smaller": CopyKind(26, scale=0.5),
}


def copy_rates(data: Sequence[Path], *, quick: bool) -> Iterator[tuple[str, Rates]]:
    """Yield the rates by dataset: two synthetic ones, the built-in ones, and those given."""
    with TemporaryDirectory() as folder:
        for name, draw in (("a fixed camera, drawn", draw_fixed_camera), ("a wrist camera, drawn", draw_wrist_camera)):
            yield name, _rates(_write_synthetic(Path(folder) / name, draw, 6 if quick else 40), Path(folder), quick)
        for path in ("builtin:pocket-new-view", *map(str, data)):
            for camera, episodes in _read(path).items():
                yield f"{Path(path).name}, {camera}", _rates(episodes, Path(folder), quick)


def real_datasets() -> list[Path]:
    """Return the datasets of the folder that WORLDTUNE_TEST_DATA names."""
    folder = os.environ.get("WORLDTUNE_TEST_DATA")
    return sorted(path.parent.parent for path in Path(folder).glob("*/meta/info.json")) if folder else []


def copy_figures(data: Sequence[Path], *, quick: bool) -> Iterator[Figure]:
    """Yield figures of false alarms and of copies found, by dataset."""
    false_goal, found_goal = (None, None) if quick else (0.5, 99)
    for name, rates in copy_rates(data, quick=quick):
        alarms = f"copies: false alarms in {rates.pairs} pairs of {name}"
        found = f"copies: found of {rates.copies} planted in {name}"
        yield figure(alarms, 100 * rates.false_alarms, "%", "lower", false_goal)
        yield figure(f"{found}, with states", 100 * rates.found, "%", "higher", found_goal)
        yield figure(f"{found}, by images alone", 100 * rates.found_by_pictures, "%", "higher")


def _rates(episodes: Sequence[Episode], folder: Path, quick: bool) -> Rates:
    recordings = [build_recording(episode, episode.footage.frame_features(episode.frames)) for episode in episodes]
    false_pairs = len(find_near_duplicates(recordings, SECONDS))
    found, found_without_states, added = 0, 0, 0
    step = max(len(episodes) // (2 if quick else COPIED), 1)
    for kind in list(KINDS.values())[: 2 if quick else None]:
        numbers = range(0, len(episodes), step)
        copies = [_copy(episodes[number], kind, folder / "copy.mp4") for number in numbers]
        wanted = {(number, len(episodes) + place) for place, number in enumerate(numbers)}
        everything = [*recordings, *copies]
        found += len(wanted & _pairs(everything))
        found_without_states += len(wanted & _pairs([replace(recording, rows=None) for recording in everything]))
        added += len(wanted)
    pairs = len(episodes) * (len(episodes) - 1) // 2
    return Rates(pairs, false_pairs / max(pairs, 1), added, found / added, found_without_states / added)


def _pairs(recordings: Sequence[Recording]) -> set[tuple[int, int]]:
    return {(pair.first, pair.second) for pair in find_near_duplicates(recordings, SECONDS)}


def _write_synthetic(folder: Path, draw: Callable[[int], Demonstration], count: int) -> list[Episode]:
    folder.mkdir()
    episodes = []
    for seed in range(count):
        frames_THWC, states_TS = draw(seed)
        path = folder / f"{seed:06d}.mp4"
        _write(path, frames_THWC, 20, FPS)
        episodes.append(_episode(path.stem, path, states_TS))
    return episodes


def _read(path: str) -> dict[str, list[Episode]]:
    """Return the recordings of a dataset by camera."""
    source = open_source(path)
    found: dict[str, list[Episode]] = {}
    for recording in source.recordings(choose_cameras(source, None)):
        if isinstance(recording, Episode):
            found.setdefault(recording.camera, []).append(recording)
    return found


def _copy(episode: Episode, kind: CopyKind, path: Path) -> Recording:
    """Return a copy under another name, with the rows of the frames that it shows."""
    first, last = round(kind.start * episode.frames), round(kind.end * episode.frames)
    frame_indices = np.minimum((np.arange(int((last - first) * kind.rate)) / kind.rate).astype(int) + first, last - 1)
    frames_by_index = dict(episode.footage.frames(sorted(set(frame_indices.tolist()))))
    _write(
        path,
        [_scaled(frames_by_index[int(frame_index)], kind.scale) for frame_index in frame_indices],
        kind.crf,
        episode.fps * kind.rate,
    )
    rows = [rows_TD[frame_indices] for rows_TD in (episode.states, episode.actions) if rows_TD is not None]
    copy = _episode(f"copy of {episode.name}", path, np.concatenate(rows, axis=1) if rows else None)
    return build_recording(copy, video_frame_features(path))


def _scaled(frame_HWC: np.ndarray, scale: float) -> np.ndarray:
    height, width = (max(round(scale * side) // 2 * 2, 16) for side in frame_HWC.shape[:2])
    return np.asarray(cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_AREA))


def _write(path: Path, frames: Sequence[np.ndarray] | np.ndarray, crf: int, fps: float) -> None:
    write_frames(path, frames, fps, options={"crf": str(crf), "g": "12", "threads": "2"})


def _episode(name: str, path: Path, rows_TS: np.ndarray | None) -> Episode:
    info = measure_video(path)
    size = info.height, info.width
    return Episode(name, "camera", "", "", VideoFootage(path), info.frames, info.fps, *size, states=rows_TS)
