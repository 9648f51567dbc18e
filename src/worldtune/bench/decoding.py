"""Decoding and resizing one clip: ours against that of diffusers' Cosmos LoRA example, on one core.

The example (diffusers, examples/cosmos, `VideoDataset`) loads the whole file by `load_video` into PIL pictures, takes
its frames and resizes each by the pipeline's Lanczos filter.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from worldtune.bench.footage import CODECS, FPS, write_film
from worldtune.bench.ratio import Ratio, time_in_turn
from worldtune.episodes.clip import Clip, read_clip
from worldtune.episodes.footage import Film
from worldtune.episodes.scan import measure

SIZE = (480, 640)  # of the files
TARGET = (432, 768)  # of the clips


def decoding_ratios(frames: int, long: int, rounds: int) -> Iterator[tuple[str, Ratio]]:
    """A clip that is a whole file, and one from the middle of a file of `long` frames, in each codec."""
    with tempfile.TemporaryDirectory() as folder, one_core():
        for codec in CODECS:
            for name, length in (("a whole file", frames), ("the middle of a long file", long)):
                film = Path(folder) / f"{codec}-{length}.mp4"
                write_film(film, codec, length, *SIZE)
                yield f"{name}, {codec}", _ratio(film, frames, (length - frames) // 2, rounds)


def _ratio(film: Path, frames: int, first: int, rounds: int) -> Ratio:
    measure(film)  # counted once in a file's life, and remembered
    picks = tuple(range(first, first + frames))
    clip = Clip("", "", "", "", "", Film(film), picks, FPS, *TARGET, "stretch")
    return time_in_turn(lambda: stock_clip(film, picks, *TARGET), lambda: read_clip(clip), rounds)


def stock_clip(film: Path, picks: tuple[int, ...], height: int, width: int) -> np.ndarray:
    """uint8 (T, H, W, 3), the example's way."""
    from diffusers.utils import load_video

    pictures = load_video(str(film))
    chosen = [pictures[pick].resize((width, height), resample=Image.Resampling.LANCZOS) for pick in picks]
    return np.stack([np.asarray(picture) for picture in chosen])


@contextmanager
def one_core() -> Iterator[None]:
    """This process and those it starts have one core meanwhile."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
