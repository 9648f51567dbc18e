"""Videos longer than one chunk of the base: each chunk continues the last frames of the previous one.

Source: github.com/nvidia-cosmos/cosmos-predict2.5 (`video2world.py`, autoregressive mode): the i-th chunk's seed is
seed + i. Frames that two chunks share are those of the earlier one.

Shapes: T frames, H×W pixels, C colors.
"""

from collections.abc import Callable
from math import ceil

import numpy as np

Chunk = Callable[[np.ndarray | None, int], np.ndarray]
"""(frames_THWC to continue, or None for the request's input; number of the chunk) → the chunk's frames_THWC."""


def count_chunks(frames: int, chunk: int, overlap: int) -> int:
    """Return how many chunks of `chunk` frames cover `frames`, if each shares `overlap` with the previous one."""
    return 1 if frames <= chunk else 1 + ceil((frames - chunk) / (chunk - overlap))


def make_long(frames: int, chunk: int, overlap: int, make: Chunk) -> np.ndarray:
    """Return a video frames_THWC of `frames` frames from as many chunks as needed, cut to length."""
    video_THWC = make(None, 0)
    for number in range(1, count_chunks(frames, chunk, overlap)):
        video_THWC = np.concatenate([video_THWC, make(video_THWC[-overlap:], number)[overlap:]])
    return video_THWC[:frames]
