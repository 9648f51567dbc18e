"""Readers of folders of videos in containers other than mp4, compared with OpenCV's decoder."""

from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.data.encoding import write_frames
from benchmarks.fuzzing.attempt import attempt
from benchmarks.fuzzing.datasets import COUNT, Recording, agree, dataset_reader
from benchmarks.fuzzing.pictures import FPS, clip, decode_frames
from benchmarks.fuzzing.reader import Reader

CODECS = {"mkv": "libx264", "webm": "libvpx-vp9", "mov": "libx264", "avi": "mpeg4"}


def _make_videos(ending: str, folder: Path) -> None:
    (folder / "d").mkdir()
    for number in range(COUNT):
        write_frames(folder / f"d/{number}.{ending}", clip(number), FPS, CODECS[ending], bit_rate=2_000_000)


def _expect_videos(ending: str, folder: Path) -> dict[str, Any]:
    """Return every video that OpenCV reads; the reader must not return any other."""
    videos = {f"{n} video": attempt(partial(decode_frames, folder / f"d/{n}.{ending}")) for n in range(COUNT)}
    return {name: Recording(*video) for name, video in videos.items() if isinstance(video, tuple)}


def _reader(ending: str) -> Reader:
    oracle = "OpenCV's decoder"
    make, expect = partial(_make_videos, ending), partial(_expect_videos, ending)
    return Reader(f"videos as {ending}", oracle, make, dataset_reader("d"), expect, agree=agree)


READERS = tuple(map(_reader, CODECS))
