"""Films such as a fixed camera makes: a background with some noise, before which a bright square moves.

Shapes: T frames, H height, W width, C colours, S state and A action dimensions.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from worldtune.episodes.dataset import take_stock
from worldtune.episodes.ledger import Row
from worldtune.episodes.lerobot_writer import Pictures, Trajectory, write_lerobot
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.video import read_frames

HEIGHT, WIDTH, FPS = 96, 128, 16
CAMERA = "observation.images.scene"


def scene(length: int, seed: int, side: int = 16, noise: float = 1.0) -> np.ndarray:
    """uint8 (T, 96, 128, 3): the background is the same for all seeds, the square's path and the noise are not."""
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
    """float (96, 128, 3), with sharp edges and soft ones."""
    draw = np.random.default_rng(0)
    tiles = draw.uniform(40, 160, (12, 16, 3))
    return np.asarray(cv2.resize(tiles, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST))


def still(length: int, seed: int = 0) -> np.ndarray:
    """uint8 (T, 96, 128, 3): one picture again and again, with its noise."""
    return scene(1, seed).repeat(length, 0)


def blurred(frames_THWC: np.ndarray, sigma: float = 3) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(frame_HWC, (0, 0), sigma) for frame_HWC in frames_THWC])


def demonstration(pictures: Pictures, seed: int, task: str = "lift the cup") -> Trajectory:
    """An episode of these films whose states (T, 2) and actions (T, 3) go smoothly, other ones for each seed."""
    first = pictures if isinstance(pictures, np.ndarray) else next(iter(pictures.values()))
    draw, T = np.random.default_rng(seed + 1000), np.arange(len(first))[:, None]
    states_TS, actions_TA = (np.sin(draw.uniform(0, 6, d) + 0.3 * T) for d in (2, 3))
    return pictures, states_TS.astype(np.float32), actions_TA.astype(np.float32), task


def write_dataset(root: Path, episodes: Iterable[Trajectory], cameras: Sequence[str] = (CAMERA,)) -> Path:
    """A LeRobot dataset, its files as old as files usually are."""
    write_lerobot(root, episodes, FPS, "arm", cameras)
    return aged(root)


def write_compressed(path: Path, frames_THWC: np.ndarray, crf: int = 23, fps: int = FPS) -> Path:
    """h264 as it is mostly found: few key frames, B-frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": str(crf), "g": "12", "bf": "3"})
        stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def recompressed(path: Path, frames_THWC: np.ndarray, crf: int = 24) -> np.ndarray:
    """The frames after they were written to `path` at that quality."""
    return np.stack(list(read_frames(write_compressed(path, frames_THWC, crf))))


def aged(place: Path) -> Path:
    """The file, or all files of the folder, as if they had changed an hour ago."""
    for path in [place, *place.rglob("*")]:
        state = path.stat()
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns - 3_600_000_000_000))
    return place


def spec(path: Path, frames: int = 12, **settings: Any) -> DataSpec:
    size = {"fps": FPS, "height": HEIGHT, "width": WIDTH}
    return DataSpec.model_validate({"path": str(path), "frames": frames} | size | settings)


def rows(path: Path, frames: int = 12, **settings: Any) -> tuple[Row, ...]:
    return take_stock(spec(path, frames, **settings)).ledger.rows


def reasons(path: Path, frames: int = 12, **settings: Any) -> dict[str, str]:
    """For each episode's first row why it is not used, without what stands in brackets."""
    found: dict[str, str] = {}
    for row in rows(path, frames, **settings):
        found.setdefault(row.episode, row.reason.split(" (")[0])
    return found
