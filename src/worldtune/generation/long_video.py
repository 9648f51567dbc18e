"""Videos longer than a base makes at once: chunk after chunk, each going on from the last frames of the one before.

Source: github.com/nvidia-cosmos/cosmos-predict2.5 (`video2world.py`, autoregressive mode): the i-th chunk's seed is
seed + i. Frames that two chunks share are those of the earlier one.

Shapes: T frames, H×W pixels, C colours.
"""

from collections.abc import Callable
from math import ceil

import numpy as np

Chunk = Callable[[np.ndarray | None, int], np.ndarray]
"""(given frames_THWC or None for the request's own, number of the chunk) → the chunk's frames_THWC."""


def count_chunks(frames: int, chunk: int, overlap: int) -> int:
    """How many chunks of `chunk` frames, each sharing `overlap` with the one before, reach `frames`."""
    return 1 if frames <= chunk else 1 + ceil((frames - chunk) / (chunk - overlap))


def make_long(frames: int, chunk: int, overlap: int, make: Chunk) -> np.ndarray:
    """`frames` frames_THWC from as many chunks as that needs, the last cut to length."""
    video_THWC = make(None, 0)
    for number in range(1, count_chunks(frames, chunk, overlap)):
        video_THWC = np.concatenate([video_THWC, make(video_THWC[-overlap:], number)[overlap:]])
    return video_THWC[:frames]
