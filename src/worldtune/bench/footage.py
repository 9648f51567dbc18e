"""Videos to measure on: the built-in robot clips, as large and as long as real ones.

Shapes: T frames, H height, W width.
"""

import os
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from worldtune.episodes.clip import read_clip
from worldtune.episodes.dataset import open_dataset
from worldtune.episodes.lerobot_writer import Trajectory, write_lerobot
from worldtune.episodes.spec import DataSpec

FPS = 16
CODECS = {
    "h264": ("libx264", {"crf": "20", "g": "250", "threads": "2"}),
    "AV1": ("libsvtav1", {"crf": "30", "g": "2", "preset": "12"}),  # as lerobot writes it
}


@cache
def robot_clips() -> tuple[np.ndarray, ...]:
    """The built-in clips, uint8 (17, 64, 64, 3) each."""
    spec = DataSpec(path="builtin:pocket-new-view", frames=17, fps=FPS, height=64, width=64)
    return tuple(read_clip(clip) for clip in open_dataset(spec).train)


def write_film(path: Path, codec: str, frames: int, height: int, width: int) -> None:
    """A film of one clip after the other, to and fro, enlarged; `codec` is of CODECS."""
    os.environ.setdefault("SVT_LOG", "1")  # errors alone
    name, options = CODECS[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=FPS, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for frame_HWC in _endless(frames):
            large = cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_CUBIC)
            picture = av.VideoFrame.from_ndarray(np.asarray(large, np.uint8), format="rgb24")
            picture.time_base = Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _endless(frames: int) -> Iterator[np.ndarray]:
    clips = robot_clips()
    for number in range(frames):
        cycle, step = divmod(number, 32)
        yield clips[cycle % len(clips)][step if step < 17 else 32 - step]


def write_episodes(folder: Path, count: int) -> None:
    """A LeRobot dataset of `count` short episodes, no two alike, with states and actions of eight numbers."""

    def episodes() -> Iterator[Trajectory]:
        clips, rng = robot_clips(), np.random.default_rng(0)
        for number in range(count):
            light = 0.7 + 0.3 * (number // len(clips)) * len(clips) / count
            frames_THWC = (clips[number % len(clips)] * light).astype(np.uint8)
            rows = rng.normal(size=(len(frames_THWC), 8)).astype(np.float32)
            yield frames_THWC, rows, rows, "the robot arm moves"

    write_lerobot(folder, episodes(), fps=FPS, robot_type="arm", camera="observation.images.scene")
