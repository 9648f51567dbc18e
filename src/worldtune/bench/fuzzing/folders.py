"""Readers of folders of videos, whose captions lie beside them or in a table."""

import csv
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from worldtune.bench.fuzzing.attempt import Raised, attempt
from worldtune.bench.fuzzing.datasets import COUNT, Recording, agree, reading
from worldtune.bench.fuzzing.oracle import json_of
from worldtune.bench.fuzzing.pictures import FPS, clip, frames_of
from worldtune.bench.fuzzing.reader import Reader, RefusedError
from worldtune.episodes.video import write_video

READ = reading("d", caption="{caption}")


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


def _texts_of(folder: Path, caption: Callable[[int], str]) -> dict[str, Any]:
    """The videos by OpenCV, each with its caption; one that cannot be read the reader must not have either."""
    found = {}
    for number in range(COUNT):
        film = attempt(partial(frames_of, folder / "d/videos" / f"{number}.mp4"))
        text = attempt(partial(caption, number))
        if not isinstance(film, Raised) and not isinstance(text, Raised):
            found[f"{number} video"] = Recording(*film, (text,))
    return found


def _videos_of(folder: Path) -> dict[str, Any]:
    return _texts_of(folder, lambda n: (folder / "d/metas" / f"{n}.txt").read_text("utf-8-sig").strip())


def _json_of(folder: Path) -> dict[str, Any]:
    return _texts_of(folder, lambda n: _first(json_of(folder / "d/captions" / f"{n}.json")))


def _first(value: Any) -> str:
    """The caption of the first model and length."""
    while isinstance(value, dict):
        value = next(iter(value.values()))
    return str(value.strip())


def _table_of(folder: Path) -> dict[str, Any]:
    """The videos by OpenCV; the prompts by Python's csv, all cells after the video's taken as one."""
    text = (folder / "d/metadata.csv").read_bytes()
    try:
        table = csv.reader(io.StringIO(text.decode("utf-8-sig"), newline=""), strict=True)
        header, *rows = [row for row in table if any(row)]
        prompts = {cells[0].strip().removesuffix(".mp4"): ",".join(cells[1:]).strip() for cells in rows}
    except (csv.Error, ValueError, LookupError) as error:
        raise RefusedError(f"it is no table of videos and prompts: {error}") from error
    if len(prompts) < len(rows) or [cell.strip().lower() for cell in header] != ["video", "prompt"]:
        raise RefusedError("a video is there twice, or its columns are others")
    films = {name: frames_of(folder / "d/videos" / f"{name}.mp4") for name in map(str, range(COUNT)) if name in prompts}
    return {f"{name} video": Recording(*film, (prompts[name],)) for name, film in films.items()}


READERS = (
    Reader("folder of videos", "OpenCV's decoder and the texts' bytes", _make_videos, READ, _videos_of, agree=agree),
    Reader(
        "videos with JSON captions",
        "OpenCV's decoder and strict JSON",
        _make_json,
        READ,
        _json_of,
        files=("d/captions/*",),
        agree=agree,
    ),
    Reader(
        "videos with a table",
        "OpenCV's decoder and Python's csv",
        _make_table,
        READ,
        _table_of,
        files=("d/metadata.csv",),
        agree=agree,
    ),
)
