"""Decode and resize one clip: ours against diffusers' Cosmos LoRA example, on one core.

The example (diffusers, examples/cosmos, `VideoDataset`) loads the whole file with `load_video` into PIL images, takes
its frames and resizes each by the pipeline's Lanczos filter.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.data.footage import CODECS, FPS, write_long_video
from benchmarks.ratio import Ratio, time_in_turn
from worldtune.data.clip import Clip, read_clip
from worldtune.data.video.footage import VideoFootage
from worldtune.data.video.video_index import measure_video

SIZE = (480, 640)  # of the files
TARGET = (432, 768)  # of the clips


def decoding_ratios(frames: int, long: int, rounds: int) -> Iterator[tuple[str, Ratio]]:
    """Yield ratios for a clip that is a whole file, and one from the middle of a file of `long` frames, by codec."""
    with tempfile.TemporaryDirectory() as folder, one_core():
        for codec in CODECS:
            for name, length in (("a whole file", frames), ("the middle of a long file", long)):
                video = Path(folder) / f"{codec}-{length}.mp4"
                write_long_video(video, codec, length, *SIZE)
                yield f"{name}, {codec}", _ratio(video, frames, (length - frames) // 2, rounds)


def _ratio(video: Path, frames: int, first: int, rounds: int) -> Ratio:
    measure_video(video)  # measured once, then cached
    frame_indices = tuple(range(first, first + frames))
    clip = Clip("", "", "", "", "", VideoFootage(video), frame_indices, FPS, *TARGET, "stretch")
    return time_in_turn(lambda: stock_clip(video, frame_indices, *TARGET), lambda: read_clip(clip), rounds)


def stock_clip(video: Path, frame_indices: tuple[int, ...], height: int, width: int) -> np.ndarray:
    """Return uint8 (T, H, W, 3), read as the example does."""
    from diffusers.utils import load_video

    images = load_video(str(video))
    chosen = [
        images[frame_index].resize((width, height), resample=Image.Resampling.LANCZOS) for frame_index in frame_indices
    ]
    return np.stack([np.asarray(image) for image in chosen])


@contextmanager
def one_core() -> Iterator[None]:
    """Restrict this process, and those it starts, to one core inside the context."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
