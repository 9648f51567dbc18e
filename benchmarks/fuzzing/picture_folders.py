"""The reader of folders of images, compared with Pillow itself."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.fuzzing.attempt import attempt
from benchmarks.fuzzing.datasets import COUNT, Recording, agree, dataset_reader
from benchmarks.fuzzing.oracle import read_text
from benchmarks.fuzzing.pictures import FPS, clip
from benchmarks.fuzzing.reader import Reader, RefusedError

EXTENSIONS = ("png", "jpg", "webp")
"""The extension of each recording's images."""


def _make_pictures(folder: Path) -> None:
    for number in range(COUNT):
        (folder / f"d/run_{number}").mkdir(parents=True)
        (folder / f"d/run_{number}.txt").write_text(f"The robot does {number}.")
        for t, frame_HWC in enumerate(clip(number)):
            Image.fromarray(frame_HWC).save(folder / f"d/run_{number}/{t:02d}.{EXTENSIONS[number]}")


def _expect_pictures(folder: Path) -> dict[str, Any]:
    """Return every recording whose images Pillow can all read; the reader must not return any other."""
    read = {f"run_{n} video": attempt(partial(_recording, folder / f"d/run_{n}")) for n in range(COUNT)}
    return {name: recording for name, recording in read.items() if isinstance(recording, Recording)}


def _recording(folder: Path) -> Recording:
    frames = []
    for file in sorted(folder.iterdir()):
        if not file.is_file():
            raise RefusedError("Pillow would wait for a pipe's writer")
        for check in (True, False):
            with Image.open(file, formats=["PNG", "JPEG", "BMP", "WEBP"]) as image:
                image.verify() if check else frames.append(np.asarray(image.convert("RGB")))
    return Recording(np.stack(frames), FPS, (read_text(folder.with_suffix(".txt")).strip(),))


READERS = (
    Reader(
        "folders of images",
        "Pillow",
        _make_pictures,
        dataset_reader("d", exact=True, recorded_fps=FPS, caption="{caption}"),
        _expect_pictures,
        agree=agree,
    ),
)
