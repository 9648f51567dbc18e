"""A script for a Python with lerobot: let lerobot write a dataset whose episodes change their task halfway.

It draws frames like `tests/data/videos.py`, without using any of our code, and stores them as `image` or `video`.
"""

import sys

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

LENGTHS, TASKS = (9, 21, 6), ("lift the cup", "put it down")
CAMERA = "observation.images.scene"


def main(root: str, kind: str) -> None:
    two = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
    camera = {"dtype": kind, "shape": (64, 64, 3), "names": ["height", "width", "channels"]}
    features = {CAMERA: camera, "observation.state": two, "action": two}
    dataset = LeRobotDataset.create("local/written", 16, features, root=root, use_videos=kind == "video")
    for tag, length in enumerate(LENGTHS):
        for t in range(length):
            row = {"observation.state": np.float32([t, 0]), "action": np.float32([tag, 1]), CAMERA: picture(t, tag)}
            dataset.add_frame(row | {"task": TASKS[2 * t >= length]})
        dataset.save_episode()
    dataset.finalize()


def picture(number: int, tag: int) -> np.ndarray:
    rows = [[255 * (value >> bit & 1) for bit in range(8)] for value in (number, tag)]
    return np.repeat(np.kron(np.uint8(rows), np.ones((32, 8), np.uint8))[..., None], 3, axis=2)


main(*sys.argv[1:])
