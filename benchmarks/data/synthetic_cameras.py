"""Synthetic episodes of several cameras, some with two cameras exchanged, and how many of these are found.

Shapes: images are 16×16, as thumbnails are.
"""

import cv2
import numpy as np

from worldtune.data.curation.swapped_cameras import find_swapped_cameras

CAMERAS = ("left", "right", "wrist")
WIDE = 24  # pixels of a room; a wrist camera sees a changing part of it


def swapped_camera_rates(sets: int) -> tuple[float, float]:
    """Return the share of episodes with exchanged cameras that are found, and the share of others that are too."""
    draw = np.random.default_rng(0)
    found = hits = sound = false = 0
    for _ in range(sets):
        mean_thumbnails = episodes(draw, count=int(draw.integers(5, 40)), rooms=int(draw.integers(1, 3)))
        sound += len({episode for episode, _ in mean_thumbnails})
        false += len({episode for episode, _ in find_swapped_cameras(mean_thumbnails)})
        name = sorted({episode for episode, _ in mean_thumbnails})[0]
        first, second = draw.choice(CAMERAS, 2, replace=False)
        mean_thumbnails[name, first], mean_thumbnails[name, second] = (
            mean_thumbnails[name, second],
            mean_thumbnails[name, first],
        )
        found_swaps = find_swapped_cameras(mean_thumbnails)
        hits += found_swaps.get((name, first)) == second and found_swaps.get((name, second)) == first
        false += len({episode for episode, _ in found_swaps} - {name})
        sound += len({episode for episode, _ in mean_thumbnails}) - 1
        found += 1
    return hits / found, false / sound


def episodes(draw: np.random.Generator, count: int, rooms: int) -> dict[tuple[str, str], np.ndarray]:
    """Return mean thumbnails by (episode, camera): things and light change; the wrist's view moves as well."""
    views = [{camera: _draw_scene(draw) for camera in CAMERAS} for _ in range(rooms)]
    mean_thumbnails = {}
    for number in range(count):
        room, light = views[number * rooms // count], draw.uniform(0.8, 1.2)
        for camera in CAMERAS:
            y, x = draw.integers(3, 6, 2) if camera == "wrist" else (4, 4)
            view = room[camera][y : y + 16, x : x + 16].copy()
            for _ in range(3):
                r, c = draw.integers(0, 14, 2)
                view[r : r + 2, c : c + 2] += draw.uniform(-60, 60)
            mean_thumbnails[f"{number:06d}", camera] = np.clip(light * view + draw.normal(0, 2, view.shape), 0, 255)
    return mean_thumbnails


def _draw_scene(draw: np.random.Generator) -> np.ndarray:
    return np.asarray(cv2.resize(draw.uniform(20, 200, (7, 7)), (WIDE, WIDE), interpolation=cv2.INTER_CUBIC))
