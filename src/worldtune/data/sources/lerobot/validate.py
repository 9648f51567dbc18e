"""Contradictions of a LeRobot dataset: info.json against the other metadata, the files and the frames."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from worldtune.data.episode import Problem
from worldtune.data.sources.lerobot.columns import describe_unread_columns
from worldtune.data.sources.lerobot.metadata import EpisodeMetadata, rates_match
from worldtune.data.sources.lerobot.rows import RowChecks
from worldtune.data.sources.lerobot.splits import parse_ranges
from worldtune.data.sources.lerobot.tasks import drop_flags, is_flag
from worldtune.data.video.video_index import measure_video
from worldtune.errors import DataError

if TYPE_CHECKING:
    from worldtune.data.sources.lerobot.source import LeRobotSource


MAX_DRIFT_FRAMES = 8  # a recording that begins up to this many frames late has drifted; one later was cut


def find_problems(source: LeRobotSource) -> list[Problem]:
    """Return every contradiction, metadata first, then episode by episode."""
    episodes = [problem for metadata in source.episode_metadata for problem in _episode(source, metadata)]
    if unread_text := describe_unread_columns(source.info["features"], source.columns):
        episodes.insert(0, Problem("warning", "data", unread_text))
    return [*_counts(source), *_splits(source), *_cameras(source), *_tasks(source), *_packing(source), *episodes]


def _episode(source: LeRobotSource, metadata: EpisodeMetadata) -> Iterator[Problem]:
    yield from _rows(source, metadata)
    for camera in source.available_cameras:
        yield from _recording(source, metadata, camera)


def _counts(source: LeRobotSource) -> Iterator[Problem]:
    episodes = len(source.episode_metadata)
    actual = {
        "total_episodes": episodes,
        "total_frames": sum(metadata.length for metadata in source.episode_metadata),
        "total_tasks": len(source.task_texts),
    }
    if source.version == 2 and source.storage.is_local:
        chunk = source.info["chunks_size"]
        actual["total_videos"] = sum(1 for _ in (source.folder / "videos").glob("*/*/*.mp4"))
        actual["total_chunks"] = len({metadata.index // chunk for metadata in source.episode_metadata})
    for key, value in actual.items():
        stated = source.info.get(key, value)
        if stated != value:
            yield Problem("warning", "info.json", f"{key} is {stated}, but there are {value}")


def _splits(source: LeRobotSource) -> Iterator[Problem]:
    end = max((metadata.index + 1 for metadata in source.episode_metadata), default=0)
    for name, stated in source.info.get("splits", {}).items():
        ranges = parse_ranges(stated)
        if ranges is None:
            yield Problem("warning", "info.json", f"split {name} is {stated!r}, not a range of episodes")
        elif any(last > end for _, last in ranges):
            yield Problem("warning", "info.json", f"split {name} is {stated}, but there are {end} episodes")


def _cameras(source: LeRobotSource) -> Iterator[Problem]:
    for camera in source.cameras:
        if camera not in source.available_cameras:
            yield Problem(
                "warning", "info.json", f"camera {camera} is not on disk{_search_hint(source, camera)}", camera
            )
    for folder in sorted((source.folder / "videos").glob("*/*" if source.version == 2 else "*")):
        if folder.is_dir() and folder.name not in source.cameras:
            yield Problem("warning", f"videos/{folder.name}", "on disk, but not in info.json")


def _search_hint(source: LeRobotSource, camera: str) -> str:
    """Return the path that was looked for, and other places with videos."""
    file = next(
        (metadata.spans[camera].video for metadata in source.episode_metadata if camera in metadata.spans), None
    )
    if file is None:
        return ""
    path = file.relative_to(source.folder)
    others = sorted(video.relative_to(source.folder) for video in source.folder.glob("*/*/*/*.mp4"))
    others = [other for other in others if other.parts[0] != path.parts[0]]
    elsewhere = f"{len(others)} videos are elsewhere, such as {others[0]}: correct video_path" if others else ""
    return f" (no {path}{'; ' if others else ''}{elsewhere})"


def _tasks(source: LeRobotSource) -> Iterator[Problem]:
    file = "tasks.jsonl" if source.version == 2 else "tasks.parquet"
    known = set(source.task_texts.values())
    named = {text for metadata in source.episode_metadata for text in metadata.tasks}
    named |= {text for checked in source.checked_rows.values() for text in checked.tasks}
    for index, task in source.task_texts.items():
        if is_flag(task):
            yield Problem("warning", file, f"task {index} is {task!r}: a flag, not a task")
        elif task not in named:
            yield Problem("warning", file, f"no episode has task {index}, {task!r}")
    for metadata in source.episode_metadata:
        unknown = [task for task in metadata.tasks if task not in known]
        if unknown:
            yield Problem("warning", f"episode {metadata.name}", f"its task {unknown[0]!r} is not in {file}")


def _packing(source: LeRobotSource) -> Iterator[Problem]:
    """Yield overlaps and gaps of recordings in one video: from_timestamp is known to drift (lerobot issue 3177).

    In version 2 each recording has its own video, but video_path may give several the same. If to_timestamp differs
    from `length`, `length` is used: lerobot reads no frame by to_timestamp.
    """
    spans: dict[Path, list[tuple[int, int, str, EpisodeMetadata]]] = defaultdict(list)
    for metadata in source.episode_metadata:
        for camera, span in metadata.spans.items():
            spans[span.video].append((span.start, span.start + metadata.length, camera, metadata))
            if span.frames is not None and span.frames != metadata.length:
                excess = span.frames - metadata.length
                short = (
                    f"{abs(excess)} frame{'s' if abs(excess) > 1 else ''} {'short of' if excess < 0 else 'more than'}"
                )
                text = f"{camera}: to_timestamp is {short} the length; the length is used"
                yield _episode_problem("warning", metadata, text, camera)
    for video, ranges in spans.items():
        ordered = sorted(ranges, key=lambda entry: entry[0])
        for (_, end, *_), (start, _, camera, metadata) in pairwise([(0, 0, "", ordered[0][3]), *ordered]):
            if start < end:
                text = f"{camera}: begins at frame {start} of {video.name}, but another recording lasts until {end}"
                yield _episode_problem("error", metadata, text, camera)
            elif start > end:
                has_drifted = start - end <= MAX_DRIFT_FRAMES and not _has_frames(source, video, ordered[-1][1])
                text = f"{camera}: begins {start - end} frames after the end of the recording before it in {video.name}"
                yield _episode_problem("error" if has_drifted else "warning", metadata, text, camera)


def _has_frames(source: LeRobotSource, video: Path, end: int) -> bool:
    """Return whether the video has that many frames; one whose recordings have drifted is shorter."""
    if not video.is_file():
        return False
    try:
        return measure_video(video).frames >= end
    except DataError:
        return False


def _episode_problem(
    level: Literal["warning", "error"], metadata: EpisodeMetadata, what: str, camera: str = ""
) -> Problem:
    return Problem(level, f"episode {metadata.name}", what, camera, metadata.name)


def _rows(source: LeRobotSource, metadata: EpisodeMetadata) -> Iterator[Problem]:
    if not source.storage.has(metadata.data):
        missing = metadata.data.relative_to(source.folder)
        yield _episode_problem("error", metadata, f"its data file is missing ({missing})")
        return
    try:
        checked = source.check_rows(metadata)
    except DataError as error:
        yield _episode_problem("error", metadata, f"{metadata.data.name}: {error.what}")
        return
    if not any(checked.tasks):
        yield _episode_problem("warning", metadata, checked.note or "no task text")
    listed = drop_flags(metadata.tasks)
    if listed and set(listed) != set(filter(None, checked.tasks)) and any(checked.tasks):
        text = f"its list of tasks is {listed}, but its rows have {[*dict.fromkeys(checked.tasks)]}: the rows are used"
        yield _episode_problem("warning", metadata, text)
    yield from _numbers(metadata, checked.checks)


def _numbers(metadata: EpisodeMetadata, rows: RowChecks) -> Iterator[Problem]:
    if rows.count != metadata.length:
        yield _episode_problem(
            "error", metadata, f"{rows.count} rows of states and actions, but the length is {metadata.length}"
        )
    if rows.begin:
        yield _episode_problem("warning", metadata, f"its frame_index counts from {rows.begin}, not from 0")
    if rows.time_resolution is not None:
        yield _episode_problem(
            "warning", metadata, f"its timestamps are only precise to {rows.time_resolution:.2g} s and are ignored"
        )
    if rows.frames_off > 0.5:
        yield _episode_problem(
            "warning", metadata, f"its timestamps are up to {rows.frames_off:.2g} frames off frame_index/fps"
        )
    if metadata.rows is not None and metadata.rows[1] - metadata.rows[0] != metadata.length:
        text = f"dataset_from_index … dataset_to_index is {metadata.rows[0]} … {metadata.rows[1]}"
        yield _episode_problem("error", metadata, f"{text}, but the length is {metadata.length}")
    for name in rows.non_finite:
        yield _episode_problem("warning", metadata, f"{name} contain NaN or infinity")


def _recording(source: LeRobotSource, metadata: EpisodeMetadata, camera: str) -> Iterator[Problem]:
    if camera not in source.video_cameras:
        return  # the ledger reports its images
    span = metadata.spans.get(camera)
    if span is None:
        yield _episode_problem("warning", metadata, f"{camera}: no video is named", camera)
        return
    if source.storage.has(span.video) and not span.video.is_file():
        return  # on the Hub, and not requested
    try:
        info = measure_video(span.video)
    except DataError as error:
        yield _episode_problem("warning", metadata, f"{camera}: {error.what}", camera)
        return
    available = info.frames if source.version == 2 else max(0, info.frames - max(0, span.start))
    if available < metadata.length or (source.version == 2 and available != metadata.length):
        yield _episode_problem(
            "warning", metadata, f"{camera}: {available} frames decode, but the length is {metadata.length}", camera
        )
    if not rates_match(span, info.fps, source.fps):
        yield _episode_problem(
            "warning", metadata, f"{camera}: {info.fps:g} fps in the video, but {source.fps:g} in info.json", camera
        )
    if not info.has_constant_rate:
        yield _episode_problem("warning", metadata, f"{camera}: frames unevenly spaced in time", camera)
    shape = source.info["features"][camera].get("shape", [])
    if not _is_shape(shape) or Counter(shape) != Counter([info.height, info.width, 3]):
        text = f"{camera}: {info.height}×{info.width} pixels, but info.json states {shape}"
        yield _episode_problem("warning", metadata, text, camera)


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(side, int | float) for side in value)
