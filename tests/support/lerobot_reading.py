"""A script for a Python with lerobot: print each row that lerobot reads from a dataset as a line of JSON.

It identifies frames by the blocks that `tests/data/videos.py` draws, without using any of our code.
"""

import json
import sys


def main(root: str) -> None:
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset
    except ImportError:
        from lerobot.common.datasets.lerobot_dataset import LeRobotDataset  # type: ignore[import-not-found,no-redef]

    dataset = LeRobotDataset("local/written", root=root, video_backend="pyav")
    cameras = list(dataset.meta.camera_keys)
    for index in range(len(dataset)):
        row = dataset[index]
        seen = {camera: blocks(row[camera].numpy()) for camera in cameras}
        where = int(row["episode_index"]), int(row["frame_index"])
        print(json.dumps([*where, row["task"], row["observation.state"].tolist(), row["action"].tolist(), seen]))


def blocks(frame_CHW) -> list[int]:  # type: ignore[no-untyped-def]
    """Return [tag, number]: the eight blocks of the lower and of the upper half as bits."""
    rows = frame_CHW.mean(0).reshape(2, 32, 8, 8).mean((1, 3)) > 0.5
    number, tag = (int(sum(int(bit) << place for place, bit in enumerate(row))) for row in rows)
    return [tag, number]


main(sys.argv[1])
