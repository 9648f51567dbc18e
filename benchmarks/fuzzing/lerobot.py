"""Readers of LeRobot datasets, compared with pyarrow and OpenCV.

Shapes: T frames, S state and A action dimensions.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.fuzzing.datasets import COUNT, Recording, agree, dataset_reader
from benchmarks.fuzzing.oracle import parse_json, parse_json_file
from benchmarks.fuzzing.pictures import FPS, LENGTH, clip, decode_frames
from benchmarks.fuzzing.reader import Reader, RefusedError
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.data.sources.lerobot.layouts import Version

CAMERA = "observation.images.scene"
PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def _make_lerobot(version: Version) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(COUNT, LENGTH, 8)).astype(np.float32)
        episodes = ((clip(n), rows[n], rows[n], f"the robot arm moves {n}") for n in range(COUNT))
        write_lerobot(folder / "d", episodes, FPS, Robot("arm"), CAMERA, version=version)

    return make


def _make_pictures(folder: Path) -> None:
    """Write version 2.1 with PNGs in the data files instead of videos."""
    _make_lerobot("v2.1")(folder)
    root = folder / "d"
    info = parse_json_file(root / "meta/info.json")
    info["features"][CAMERA]["dtype"] = "image"
    (root / "meta/info.json").write_text(json.dumps(info | {"video_path": None}))
    rmtree(root / "videos")
    for number, path in enumerate(sorted(root.glob("data/*/*.parquet"))):
        pictures = [cv2.imencode(".png", frame_HWC[..., ::-1])[1].tobytes() for frame_HWC in clip(number)]
        cells = pa.array([{"bytes": data, "path": None} for data in pictures], PICTURE)
        pq.write_table(pq.read_table(path).append_column(CAMERA, cells), path)


def _decode_pictures(column: Sequence[Any]) -> np.ndarray:
    """Return the images that OpenCV decodes from the column."""
    decoded = (cv2.imdecode(np.frombuffer(cell["bytes"], np.uint8), cv2.IMREAD_COLOR) for cell in column)
    found = [frame_HWC for frame_HWC in decoded if frame_HWC is not None]
    if len(found) < len(column) or len({frame_HWC.shape for frame_HWC in found}) != 1:
        raise RefusedError("an image cannot be read, or has another size")
    return np.stack(found)[..., ::-1]


def _expect_lerobot(folder: Path) -> dict[str, Any]:
    """Return what pyarrow and OpenCV read, episode by episode."""
    root = folder / "d"
    info = parse_json_file(root / "meta/info.json")
    try:
        is_v3 = info["codebase_version"].startswith("v3")
        return {
            f"{int(row['episode_index']):06d} {CAMERA}": _read_episode(root, info, row, texts, is_v3)
            for row, texts in _list_episodes(root, is_v3)
        }
    except (LookupError, TypeError, ValueError, AttributeError, OSError, pa.ArrowException) as error:
        raise RefusedError(f"it cannot be understood: {error!r}") from error


def _list_episodes(root: Path, is_v3: bool) -> Iterator[tuple[dict[str, Any], dict[int, str]]]:
    """Yield the episodes of the metadata, each with the texts of all tasks."""
    if is_v3:
        files = sorted((root / "meta/episodes").glob("*/*.parquet"))
        rows = [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]
        tasks = pq.ParquetFile(root / "meta/tasks.parquet").read().to_pylist()
    else:
        rows, tasks = (_read_json_lines(root / "meta" / name) for name in ("episodes.jsonl", "tasks.jsonl"))
    texts = {row["task_index"]: row.get("task", row.get("__index_level_0__")) for row in tasks}
    yield from ((row, texts) for row in rows)


def _read_json_lines(path: Path) -> list[Any]:
    return [parse_json(line) for line in path.read_bytes().decode("utf-8-sig").splitlines() if line.strip()]


def _read_episode(root: Path, info: Any, row: dict[str, Any], texts: dict[int, str], is_v3: bool) -> Recording:
    index, length, start = int(row["episode_index"]), int(row["length"]), 0
    if is_v3:
        at = {key: int(row[f"data/{key}"]) for key in ("chunk_index", "file_index")}
        video_at = {key: int(row[f"videos/{CAMERA}/{key}"]) for key in at}
        start = round(row[f"videos/{CAMERA}/from_timestamp"] * info["fps"])
    else:
        at = video_at = {"episode_chunk": index // info["chunks_size"], "episode_index": index}
    table = pq.ParquetFile(root / info["data_path"].format(**at)).read()
    columns = {
        name: table.column(name).to_pylist() for name in ("observation.state", "action", "episode_index", "task_index")
    }
    row_numbers = [n for n, number in enumerate(columns["episode_index"]) if number == index or not is_v3]
    if has_images := info["features"][CAMERA]["dtype"] == "image":
        frames_THWC, rate = _decode_pictures(table.column(CAMERA).to_pylist()), info["fps"]
    else:
        frames_THWC, rate = decode_frames(root / info["video_path"].format(video_key=CAMERA, **video_at))
    if abs(rate / info["fps"] - 1) > 0.02 or len(row_numbers) != length:
        raise RefusedError("rates or lengths contradict each other")
    tasks = {*row["tasks"], *(texts.get(columns["task_index"][n]) for n in row_numbers)}
    states_TS, actions_TA = (
        np.asarray([columns[name][n] for n in row_numbers], np.float32).reshape(len(row_numbers), -1)
        for name in ("observation.state", "action")
    )
    return Recording(
        frames_THWC[start : start + length],
        float(info["fps"]),
        tuple(map(str, tasks)),
        states_TS,
        actions_TA,
        has_images,
    )


def _reader(version: Version) -> Reader:
    oracle = "pyarrow, strict JSON and OpenCV's decoder"
    return Reader(
        f"LeRobot {version}", oracle, _make_lerobot(version), dataset_reader("d"), _expect_lerobot, agree=agree
    )


PICTURES = Reader(
    "LeRobot pictures",
    "pyarrow, strict JSON and OpenCV",
    _make_pictures,
    dataset_reader("d", exact=True),
    _expect_lerobot,
    agree=agree,
)
READERS = (_reader("v3.0"), _reader("v2.1"), PICTURES)
