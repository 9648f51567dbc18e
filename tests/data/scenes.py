"""Frames of a fixed camera: a background with some noise, and a bright square that moves in front of it.

Shapes: T frames, H height, W width, C colors, S state and A action dimensions.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from worldtune.data.dataset import build_dataset
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import EpisodeData, EpisodeFrames, write_lerobot
from worldtune.data.ledger import Row
from worldtune.data.spec import DataSpec
from worldtune.data.video.decode import read_frames

HEIGHT, WIDTH, FPS = 96, 128, 16
CAMERA = "observation.images.scene"


def scene(length: int, seed: int, side: int = 16, noise: float = 1.0) -> np.ndarray:
    """Return uint8 (T, 96, 128, 3). The background is the same for all seeds; the square's path and noise differ."""
    draw = np.random.default_rng(seed)
    begin, pace = draw.uniform(0, 6, 2), draw.uniform(0.15, 0.35, 2)
    room = np.array([HEIGHT - side, WIDTH - side])
    frames = []
    for t in range(length):
        y, x = ((0.5 + 0.5 * np.sin(begin + pace * t)) * room).astype(int)
        light = background()
        light[y : y + side, x : x + side] += 80
        frames.append(light + draw.normal(0, noise, light.shape))
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def background() -> np.ndarray:
    """Return float (96, 128, 3) with sharp and soft edges."""
    draw = np.random.default_rng(0)
    tiles = draw.uniform(40, 160, (12, 16, 3))
    return np.asarray(cv2.resize(tiles, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST))


def still(length: int, seed: int = 0) -> np.ndarray:
    """Return uint8 (T, 96, 128, 3): one image repeated, including its noise."""
    return scene(1, seed).repeat(length, 0)


def blurred(frames_THWC: np.ndarray, sigma: float = 3) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(frame_HWC, (0, 0), sigma) for frame_HWC in frames_THWC])


def demonstration(images: EpisodeFrames, seed: int, task: str = "lift the cup") -> EpisodeData:
    """Return an episode of these frames with smooth states (T, 2) and actions (T, 3) that depend on the seed."""
    first = images if isinstance(images, np.ndarray) else next(iter(images.values()))
    draw, T = np.random.default_rng(seed + 1000), np.arange(len(first))[:, None]
    states_TS, actions_TA = (np.sin(draw.uniform(0, 6, d) + 0.3 * T) for d in (2, 3))
    return images, states_TS.astype(np.float32), actions_TA.astype(np.float32), task


def write_dataset(root: Path, episodes: Iterable[EpisodeData], cameras: Sequence[str] = (CAMERA,)) -> Path:
    """Write a LeRobot dataset whose files look an hour old."""
    write_lerobot(root, episodes, FPS, Robot("arm"), cameras)
    return aged(root)


def write_compressed(path: Path, frames_THWC: np.ndarray, crf: int = 23, fps: int = FPS) -> Path:
    """Write typical h264: few key frames, B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "g": "12", "bf": "3"})
        stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def recompressed(path: Path, frames_THWC: np.ndarray, crf: int = 24) -> np.ndarray:
    """Return the frames after encoding them to `path` at that quality."""
    return np.stack(list(read_frames(write_compressed(path, frames_THWC, crf))))


def aged(place: Path) -> Path:
    """Set the modification time of the file, or of all files in the folder, one hour back."""
    for path in [place, *place.rglob("*")]:
        state = path.stat()
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns - 3_600_000_000_000))
    return place


def spec(path: Path, frames: int = 12, **settings: Any) -> DataSpec:
    size = {"fps": FPS, "height": HEIGHT, "width": WIDTH}
    return DataSpec.model_validate({"path": str(path), "frames": frames} | size | settings)


def rows(path: Path, frames: int = 12, **settings: Any) -> tuple[Row, ...]:
    return build_dataset(spec(path, frames, **settings)).ledger.rows


def reasons(path: Path, frames: int = 12, **settings: Any) -> dict[str, str]:
    """Return why each episode's first row is not used, without the part in parentheses."""
    found: dict[str, str] = {}
    for row in rows(path, frames, **settings):
        found.setdefault(row.episode, row.reason.split(" (")[0])
    return found
