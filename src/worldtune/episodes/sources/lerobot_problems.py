"""Where a LeRobot dataset contradicts itself: info.json against the other metadata, the files and the frames."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from worldtune.episodes.episode import Problem
from worldtune.episodes.scan import measure
from worldtune.episodes.sources.lerobot_meta import Promise, same_rate
from worldtune.episodes.sources.tasks import is_flag
from worldtune.errors import DataError

if TYPE_CHECKING:
    from worldtune.episodes.sources.lerobot import LeRobotSource


DRIFT = 8  # frames: a recording that begins so much later than it could has drifted; one much later was cut


def find_problems(source: LeRobotSource) -> list[Problem]:
    """Every contradiction found, metadata first, then episode by episode."""
    found = [*_counts(source), *_splits(source), *_cameras(source), *_tasks(source), *_packing(source)]
    for promise in source.promises:
        found += _rows(source, promise)
        for camera in source.present:
            found += _recording(source, promise, camera)
    return found


def _counts(source: LeRobotSource) -> Iterator[Problem]:
    episodes = len(source.promises)
    real = {
        "total_episodes": episodes,
        "total_frames": sum(promise.length for promise in source.promises),
        "total_tasks": len(source.task_texts),
    }
    if source.version == 2 and source.shelf.local:
        chunk = source.info["chunks_size"]
        real["total_videos"] = sum(1 for _ in (source.folder / "videos").glob("*/*/*.mp4"))
        real["total_chunks"] = len({promise.index // chunk for promise in source.promises})
    for key, value in real.items():
        stated = source.info.get(key, value)
        if stated != value:
            yield Problem("warning", "info.json", f"{key} is {stated}, there are {value}")


def _splits(source: LeRobotSource) -> Iterator[Problem]:
    episodes = len(source.promises)
    for name, text in source.info.get("splits", {}).items():
        parts = str(text).split(":")
        if len(parts) != 2 or not all(part.isdecimal() for part in parts):
            yield Problem("warning", "info.json", f"split {name} is {text!r}, not a range of episodes")
        elif not int(parts[0]) <= int(parts[1]) <= episodes:
            yield Problem("warning", "info.json", f"split {name} is {text}, there are {episodes} episodes")


def _cameras(source: LeRobotSource) -> Iterator[Problem]:
    for camera in source.cameras:
        if camera not in source.present:
            yield Problem("warning", "info.json", f"camera {camera} is not on disk", camera)
    for name, feature in source.info["features"].items():
        if feature.get("dtype") == "image":
            yield Problem("warning", "info.json", f"{name} is stored as pictures, not video: it is not read")
    for folder in sorted((source.folder / "videos").glob("*/*" if source.version == 2 else "*")):
        if folder.is_dir() and folder.name not in source.cameras:
            yield Problem("warning", f"videos/{folder.name}", "on disk, but not in info.json")


def _tasks(source: LeRobotSource) -> Iterator[Problem]:
    file = "tasks.jsonl" if source.version == 2 else "tasks.parquet"
    known = set(source.task_texts.values())
    for index, task in source.task_texts.items():
        if is_flag(task):
            yield Problem("warning", file, f"task {index} is {task!r}: a flag, not a task")
        elif not any(task in promise.tasks for promise in source.promises):
            yield Problem("warning", file, f"no episode has task {index}, {task!r}")
    for promise in source.promises:
        unknown = [task for task in promise.tasks if task not in known]
        if unknown:
            yield Problem("warning", f"episode {promise.name}", f"its task {unknown[0]!r} is not in {file}")


def _packing(source: LeRobotSource) -> Iterator[Problem]:
    """Recordings in one video must follow each other: from_timestamp is known to drift (lerobot issue 3177).

    In version 2, where each has its own, they do not if video_path gives several the same.
    """
    spans: dict[Path, list[tuple[int, int, str, Promise]]] = defaultdict(list)
    for promise in source.promises:
        for camera, span in promise.spans.items():
            spans[span.video].append((span.start, span.start + span.frames, camera, promise))
            if span.frames != promise.length:
                text = f"{camera}: timestamps span {span.frames} frames, the length is {promise.length}"
                yield _of("error", promise, text, camera)
    for video, ranges in spans.items():
        begun = sorted(ranges, key=lambda entry: entry[0])
        for (_, end, *_), (start, _, camera, promise) in pairwise([(0, 0, "", begun[0][3]), *begun]):
            if start < end:
                text = f"{camera}: begins at frame {start} of {video.name}, where another lasts until {end}"
                yield _of("error", promise, text, camera)
            elif start > end:
                drifts = start - end <= DRIFT
                text = f"{camera}: begins {start - end} frames after the recording before it in {video.name} ends"
                yield _of("error" if drifts else "warning", promise, text, camera)


def _of(level: Literal["warning", "error"], promise: Promise, what: str, camera: str = "") -> Problem:
    return Problem(level, f"episode {promise.name}", what, camera, promise.name)


def _rows(source: LeRobotSource, promise: Promise) -> Iterator[Problem]:
    if not source.shelf.has(promise.data):
        yield _of("error", promise, f"its data file {promise.data.name} is missing")
        return
    try:
        seen = source.rows_seen.get(promise.index) or source.look_at_rows(promise)
    except DataError as error:
        yield _of("error", promise, f"{promise.data.name}: {error.what}")
        return
    if not seen.task:
        yield _of("warning", promise, "no task text")
    if seen.count != promise.length:
        yield _of("error", promise, f"{seen.count} rows of states and actions, the length is {promise.length}")
    if seen.off > 0.5:
        yield _of("warning", promise, f"its time stamps are up to {seen.off:.2g} frames off frame_index/fps")
    if promise.rows is not None and promise.rows[1] - promise.rows[0] != promise.length:
        text = f"dataset_from_index … dataset_to_index is {promise.rows[0]} … {promise.rows[1]}"
        yield _of("error", promise, f"{text}, the length is {promise.length}")
    for name in seen.endless:
        yield _of("warning", promise, f"{name} hold values that are not finite")


def _recording(source: LeRobotSource, promise: Promise, camera: str) -> Iterator[Problem]:
    span = promise.spans.get(camera)
    if span is None:
        yield _of("warning", promise, f"{camera}: no video is named", camera)
        return
    if source.shelf.has(span.video) and not span.video.is_file():
        return  # on the Hub, and not asked for
    try:
        facts = measure(span.video)
    except DataError as error:
        yield _of("warning", promise, f"{camera}: {error.what}", camera)
        return
    there = facts.frames if source.version == 2 else max(0, facts.frames - max(0, span.start))
    if there < promise.length or (source.version == 2 and there != promise.length):
        yield _of("warning", promise, f"{camera}: {there} frames decode, the length is {promise.length}", camera)
    if not same_rate(span, facts.fps, source.fps):
        yield _of("warning", promise, f"{camera}: {facts.fps:g} fps in the video, {source.fps:g} in info.json", camera)
    if not facts.steady:
        yield _of("warning", promise, f"{camera}: frames not evenly spaced in time", camera)
    shape = source.info["features"][camera].get("shape", [])
    if not _is_shape(shape) or Counter(shape) != Counter([facts.height, facts.width, 3]):
        said = f"{camera}: {facts.height}×{facts.width} pixels, info.json says {shape}"
        yield _of("warning", promise, said, camera)


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(side, int | float) for side in value)
