"""Readers of folders of videos, with captions beside them or in a table."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.attempt import Raised, attempt
from benchmarks.fuzzing.datasets import COUNT, Recording, agree, dataset_reader
from benchmarks.fuzzing.oracle import parse_json_file, read_text
from benchmarks.fuzzing.pictures import FPS, clip, decode_frames
from benchmarks.fuzzing.reader import Reader, RefusedError
from worldtune.data.video.decode import write_video

READ = dataset_reader("d", caption="{caption}")


def _make_videos(folder: Path) -> None:
    for part in ("videos", "metas"):
        (folder / "d" / part).mkdir(parents=True)
    for number in range(COUNT):
        write_video(folder / "d/videos" / f"{number}.mp4", clip(number), FPS)
        (folder / "d/metas" / f"{number}.txt").write_text(f"The robot does {number} – slowly.\n", encoding="utf-8")


def _make_table(folder: Path) -> None:
    _make_videos(folder)
    shutil.rmtree(folder / "d/metas")
    rows = "".join(f'{number}.mp4,"The robot, slowly, does {number}."\n' for number in range(COUNT))
    (folder / "d/metadata.csv").write_text(f"video,prompt\n{rows}")


def _make_json(folder: Path) -> None:
    _make_videos(folder)
    shutil.rmtree(folder / "d/metas")
    (folder / "d/captions").mkdir()
    for number in range(COUNT):
        text = json.dumps({"qwen": {"long": f"The robot does {number} – slowly.", "short": "It moves."}})
        (folder / "d/captions" / f"{number}.json").write_text(text)


def _expect_texts(folder: Path, caption: Callable[[int], str]) -> dict[str, Any]:
    """Return the videos by OpenCV, each with its caption; the reader must not return one that OpenCV cannot read."""
    found = {}
    for number in range(COUNT):
        video = attempt(partial(decode_frames, folder / "d/videos" / f"{number}.mp4"))
        text = attempt(partial(caption, number))
        if not isinstance(video, Raised) and not isinstance(text, Raised):
            found[f"{number} video"] = Recording(*video, (text,))
    return found


def _expect_videos(folder: Path) -> dict[str, Any]:
    return _expect_texts(folder, lambda n: read_text(folder / "d/metas" / f"{n}.txt").strip())


def _expect_json(folder: Path) -> dict[str, Any]:
    return _expect_texts(folder, lambda n: _first_text(parse_json_file(folder / "d/captions" / f"{n}.json")))


def _first_text(value: Any) -> str:
    """Return the caption of the first model and length."""
    while isinstance(value, dict):
        value = next(iter(value.values()))
    return str(value.strip())


def _expect_table(folder: Path) -> dict[str, Any]:
    """Return the videos by OpenCV and the prompts by Python's csv; all cells after the video's are one prompt."""
    text = (folder / "d/metadata.csv").read_bytes()
    try:
        table = csv.reader(io.StringIO(text.decode("utf-8-sig"), newline=""), strict=True)
        header, *rows = [row for row in table if any(row)]
        prompts = {cells[0].strip().removesuffix(".mp4"): ",".join(cells[1:]).strip() for cells in rows}
    except (csv.Error, ValueError, LookupError) as error:
        raise RefusedError(f"it is not a table of videos and prompts: {error}") from error
    if len(prompts) < len(rows) or [cell.strip().lower() for cell in header] != ["video", "prompt"]:
        raise RefusedError("a video is listed twice, or the columns differ")
    videos = {
        name: decode_frames(folder / "d/videos" / f"{name}.mp4") for name in map(str, range(COUNT)) if name in prompts
    }
    return {f"{name} video": Recording(*video, (prompts[name],)) for name, video in videos.items()}


READERS = (
    Reader(
        "folder of videos", "OpenCV's decoder and the texts' bytes", _make_videos, READ, _expect_videos, agree=agree
    ),
    Reader(
        "videos with JSON captions",
        "OpenCV's decoder and strict JSON",
        _make_json,
        READ,
        _expect_json,
        files=("d/captions/*",),
        agree=agree,
    ),
    Reader(
        "videos with a table",
        "OpenCV's decoder and Python's csv",
        _make_table,
        READ,
        _expect_table,
        files=("d/metadata.csv",),
        agree=agree,
    ),
)
