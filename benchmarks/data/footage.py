"""Videos to measure on: the built-in robot clips, as large and as long as real ones.

Shapes: T frames, H height, W width.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from benchmarks.data.encoding import write_frames
from worldtune.data.clip import read_clip
from worldtune.data.dataset import open_dataset
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import EpisodeData, write_lerobot
from worldtune.data.spec import DataSpec

FPS = 16
CODECS = {
    "h264": ("libx264", {"crf": "20", "g": "250", "threads": "2"}),
    "AV1": ("libsvtav1", {"crf": "30", "g": "2", "preset": "12"}),  # lerobot's codec
}


@cache
def robot_clips() -> tuple[np.ndarray, ...]:
    """Return the built-in clips, uint8 (17, 64, 64, 3) each."""
    spec = DataSpec(path="builtin:pocket-new-view", frames=17, fps=FPS, height=64, width=64)
    return tuple(read_clip(clip) for clip in open_dataset(spec).train)


def write_long_video(path: Path, codec: str, frames: int, height: int, width: int) -> None:
    """Write a video of one clip after the other, forward and backward, enlarged; `codec` is one of CODECS."""
    os.environ.setdefault("SVT_LOG", "1")  # only errors
    name, options = CODECS[codec]
    size = width, height
    large = (
        np.asarray(cv2.resize(frame_HWC, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        for frame_HWC in _loop_frames(frames)
    )
    write_frames(path, large, FPS, name, options)


def _loop_frames(frames: int) -> Iterator[np.ndarray]:
    clips = robot_clips()
    for number in range(frames):
        cycle, step = divmod(number, 32)
        yield clips[cycle % len(clips)][step if step < 17 else 32 - step]


def write_episodes(folder: Path, count: int) -> None:
    """Write a LeRobot dataset of `count` different short episodes, with states and actions of eight dimensions."""

    def episodes() -> Iterator[EpisodeData]:
        clips, rng = robot_clips(), np.random.default_rng(0)
        for number in range(count):
            light = 0.7 + 0.3 * (number // len(clips)) * len(clips) / count
            frames_THWC = (clips[number % len(clips)] * light).astype(np.uint8)
            rows = rng.normal(size=(len(frames_THWC), 8)).astype(np.float32)
            yield frames_THWC, rows, rows, "the robot arm moves"

    write_lerobot(folder, episodes(), fps=FPS, robot=Robot("arm"), camera="observation.images.scene")
