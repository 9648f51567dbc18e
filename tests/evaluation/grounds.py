"""Textured pictures for tests of flow and geometry.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from worldtune.evaluation.cases.case import Frames


def textured(height: int, width: int, seed: int = 0) -> Frames:
    """Return uint8 (H + 64, W + 64, 3): blobs of many sizes and colors, with a margin of 32 pixels for `panned`."""
    rng, size = np.random.default_rng(seed), (width + 64, height + 64)
    sums = np.zeros((height + 64, width + 64, 3), np.float32)
    for cells in (6, 14, 34):
        coarse = rng.normal(0, 40, (cells, cells, 3)).astype(np.float32)
        sums += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + sums, 0, 255).astype(np.uint8)


def panned(ground_HWC: Frames, shifts: Sequence[tuple[int, int]]) -> Frames:
    """Return (T, H − 64, W − 64, 3): crops of the picture, shifted right and down by the given pixels."""
    H, W = ground_HWC.shape[0] - 64, ground_HWC.shape[1] - 64
    return np.stack([ground_HWC[32 + dy : 32 + dy + H, 32 + dx : 32 + dx + W] for dx, dy in shifts])
