"""Cameras whose streams are exchanged in some episodes.

Each episode is compared with every other one twice: camera by camera, and with two cameras exchanged. Only an episode
that looks the same in one of the two ways has a vote, so scenes that change from day to day do not matter.

Shapes: N episodes, D pixels of a mean thumbnail.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

MIN_VOTES = 3  # other episodes that must each show the two cameras exchanged
MIN_AGREEMENT = 0.75  # of all votes: more than this share must show it
MAX_RELATIVE_DIFFERENCE = 0.4  # of the difference as named: the exchanged difference must be smaller
MIN_CORRELATION = 0.8  # correlation of two mean thumbnails that show the same view
BLOCK_SIZE = 512


def find_swapped_cameras(mean_thumbnails: Mapping[tuple[str, str], np.ndarray]) -> dict[tuple[str, str], str]:
    """Return for (episode, camera) the camera that it shows instead, if two cameras of the episode are exchanged.

    `mean_thumbnails`: for each (episode, camera) the mean image of its frames, all of one shape.
    """
    found: dict[tuple[str, str], str] = {}
    cameras = sorted({camera for _, camera in mean_thumbnails})
    for first_camera, second_camera in combinations(cameras, 2):
        names = [
            episode
            for episode, camera in mean_thumbnails
            if camera == first_camera and (episode, second_camera) in mean_thumbnails
        ]
        if len(names) <= MIN_VOTES:
            continue
        a_ND, b_ND = (
            np.stack([_normalize(mean_thumbnails[name, camera]) for name in names])
            for camera in (first_camera, second_camera)
        )
        for n in _find_exchanged(a_ND, b_ND):
            found[names[n], first_camera], found[names[n], second_camera] = second_camera, first_camera
    return found


def _normalize(mean_thumbnail: np.ndarray) -> np.ndarray:
    """Return the vector whose product with another is their correlation; a change of overall light has no effect."""
    flat = mean_thumbnail.astype(np.float32).reshape(-1)
    flat = flat - flat.mean()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-6))


def _find_exchanged(a_ND: np.ndarray, b_ND: np.ndarray) -> list[int]:
    """Return the episodes whose a is the others' b and whose b is the others' a."""
    found = []
    for first in range(0, len(a_ND), BLOCK_SIZE):
        a, b = a_ND[first : first + BLOCK_SIZE], b_ND[first : first + BLOCK_SIZE]
        as_named = (a @ a_ND.T, b @ b_ND.T)
        exchanged = (a @ b_ND.T, b @ a_ND.T)
        for_it = _fits_better(exchanged, as_named, MAX_RELATIVE_DIFFERENCE)
        against_it = _fits_better(as_named, exchanged, 1)
        yes, no = for_it.sum(1), against_it.sum(1) - 1  # an episode agrees with itself
        found += [first + int(n) for n in np.flatnonzero((yes >= MIN_VOTES) & (yes > MIN_AGREEMENT * (yes + no)))]
    return found


def _fits_better(
    pairing: tuple[np.ndarray, np.ndarray], alternative: tuple[np.ndarray, np.ndarray], share: float
) -> np.ndarray:
    """Return whether two cameras look alike in `pairing` and differ by less than `share` of what they do otherwise."""
    difference, alternative_difference = 2 - pairing[0] - pairing[1], 2 - alternative[0] - alternative[1]
    return np.asarray((np.maximum(*pairing) >= MIN_CORRELATION) & (difference < share * alternative_difference))
