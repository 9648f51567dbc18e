"""Clips that show the same, by their thumbnails.

A fixed camera's pictures are alike whatever the robot does, which is what defeats a hash of single pictures. So two
clips count as the same only if they differ by less than each of them changes within itself: a second encoding differs
by its noise, another demonstration by half as much again as the motion.

Shapes: N clips, D = thumbnails of a clip × their pixels.
"""

from collections.abc import Iterator, Sequence

import numpy as np

ALIKE = 0.2  # of what a clip changes within itself: how far from it another may be
NOISE = 1.5  # luma levels: how far apart two encodings may lie in any case ...
APART = 0.6  # ... unless that is so much of what the clip changes within itself
SAME = 0.2  # luma levels: nearer than that they are the same in any case, to the exactness of 32 bits
BLOCK = 1024


def twins(thumbs: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of clips that show the same; `thumbs[i]` is uint8 (F, S, S), all of one shape.

    Every pair is compared: N² · D multiplications, some seconds for ten thousand clips.
    """
    if not thumbs:
        return
    flat_ND = np.stack([clip.reshape(-1) for clip in thumbs])
    within_N = np.array([within(clip) for clip in thumbs], np.float32)
    norm_N = np.array([np.square(centred(row)).sum() for row in flat_ND], np.float32)
    limit_N = limits(within_N)
    for first in range(0, len(flat_ND), BLOCK):
        a_ND, its = centred(flat_ND[first : first + BLOCK]), slice(first, first + BLOCK)
        for second in range(first, len(flat_ND), BLOCK):
            b_ND, others = centred(flat_ND[second : second + BLOCK]), slice(second, second + BLOCK)
            square_NN = norm_N[its, None] + norm_N[None, others] - 2 * a_ND @ b_ND.T
            limit_NN = np.minimum(limit_N[its, None], limit_N[None, others])
            close = np.argwhere(square_NN <= np.square(limit_NN) * flat_ND.shape[1])
            yield from ((first + int(i), second + int(j)) for i, j in close if first + i < second + j)


def limits(within_N: np.ndarray) -> np.ndarray:
    """How far from clips that change so much within themselves others may be that show the same, in luma levels."""
    return np.maximum(np.maximum(ALIKE * within_N, SAME), np.minimum(APART * within_N, NOISE))


def centred(thumbs: np.ndarray) -> np.ndarray:
    """float32, about zero: then squares and products keep their digits."""
    return thumbs.astype(np.float32) - 128


def within(clip_FSS: np.ndarray) -> float:
    """How far a clip's pictures lie from their mean, in luma levels: root mean square."""
    clip = clip_FSS.astype(np.float32)
    return float(np.sqrt(np.square(clip - clip.mean(0)).mean()))
