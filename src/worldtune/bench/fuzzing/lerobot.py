"""Readers of LeRobot datasets, beside pyarrow and OpenCV.

Shapes: T frames, S state and A action dimensions.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldtune.bench.fuzzing.datasets import COUNT, Recording, agree, reading
from worldtune.bench.fuzzing.oracle import json_in, json_of
from worldtune.bench.fuzzing.pictures import FPS, LENGTH, clip, frames_of
from worldtune.bench.fuzzing.reader import Reader, RefusedError
from worldtune.episodes.lerobot_layouts import Version
from worldtune.episodes.lerobot_writer import write_lerobot

CAMERA = "observation.images.scene"


def _make_lerobot(version: Version) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(COUNT, LENGTH, 8)).astype(np.float32)
        episodes = ((clip(n), rows[n], rows[n], f"the robot arm moves {n}") for n in range(COUNT))
        write_lerobot(folder / "d", episodes, FPS, "arm", CAMERA, version=version)

    return make


def _lerobot_of(folder: Path) -> dict[str, Any]:
    """Read by pyarrow and OpenCV, episode by episode."""
    root = folder / "d"
    info = json_of(root / "meta/info.json")
    try:
        is_v3 = info["codebase_version"].startswith("v3")
        return {
            f"{int(row['episode_index']):06d} {CAMERA}": _episode(root, info, row, texts, is_v3)
            for row, texts in _listed(root, is_v3)
        }
    except (LookupError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException) as error:
        raise RefusedError(f"it cannot be understood: {error!r}") from error


def _listed(root: Path, is_v3: bool) -> Iterator[tuple[dict[str, Any], dict[int, str]]]:
    """The episodes of the metadata, each with the texts of all tasks."""
    if is_v3:
        files = sorted((root / "meta/episodes").glob("*/*.parquet"))
        rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
        tasks = pq.ParquetFile(root / "meta/tasks.parquet").read().to_pylist()
    else:
        rows, tasks = (_lines(root / "meta" / name) for name in ("episodes.jsonl", "tasks.jsonl"))
    texts = {row["task_index"]: row.get("task", row.get("__index_level_0__")) for row in tasks}
    yield from ((row, texts) for row in rows)


def _lines(path: Path) -> list[Any]:
    return [json_in(line) for line in path.read_bytes().decode("utf-8-sig").splitlines() if line.strip()]


def _episode(root: Path, info: Any, row: dict[str, Any], texts: dict[int, str], is_v3: bool) -> Recording:
    index, length, start = int(row["episode_index"]), int(row["length"]), 0
    if is_v3:
        at = {key: int(row[f"data/{key}"]) for key in ("chunk_index", "file_index")}
        film_at = {key: int(row[f"videos/{CAMERA}/{key}"]) for key in at}
        start = round(row[f"videos/{CAMERA}/from_timestamp"] * info["fps"])
    else:
        at = film_at = {"episode_chunk": index // info["chunks_size"], "episode_index": index}
    table = pq.ParquetFile(root / info["data_path"].format(**at)).read()
    columns = {
        name: table.column(name).to_pylist() for name in ("observation.state", "action", "episode_index", "task_index")
    }
    own = [n for n, number in enumerate(columns["episode_index"]) if number == index or not is_v3]
    frames_THWC, rate = frames_of(root / info["video_path"].format(video_key=CAMERA, **film_at))
    if abs(rate / info["fps"] - 1) > 0.02 or len(own) != length:
        raise RefusedError("rates or lengths contradict each other")
    tasks = {*row["tasks"], *(texts.get(columns["task_index"][n]) for n in own)}
    states_TS, actions_TA = (
        np.asarray([columns[name][n] for n in own], np.float32) for name in ("observation.state", "action")
    )
    return Recording(
        frames_THWC[start : start + length], float(info["fps"]), tuple(map(str, tasks)), states_TS, actions_TA
    )


def _reader(version: Version) -> Reader:
    oracle = "pyarrow, strict JSON and OpenCV's decoder"
    return Reader(f"LeRobot {version}", oracle, _make_lerobot(version), reading("d"), _lerobot_of, agree=agree)


READERS = (_reader("v3.0"), _reader("v2.1"))
