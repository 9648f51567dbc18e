"""Find the frames of a LeRobot recording: in a video, which may contain other recordings, or as images."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldtune.data.ledger import DEPTH
from worldtune.data.sources.lerobot.images import find_images
from worldtune.data.sources.lerobot.metadata import EpisodeMetadata, Span, rates_match
from worldtune.data.sources.lerobot.rows import Rows
from worldtune.data.sources.path_checks import link_note
from worldtune.data.sources.storage import Storage
from worldtune.data.video.footage import Footage, VideoFootage
from worldtune.data.video.video_index import index_video
from worldtune.data.windows import find_gaps
from worldtune.errors import DataError


@dataclass(frozen=True)
class RecordingFrames:
    """A recording's frames, their size, the gaps between their timestamps, and a note for the ledger."""

    footage: Footage
    height: int
    width: int
    gaps: tuple[tuple[int, float], ...] = ()
    note: str = ""


def find_video_frames(
    storage: Storage, span: Span, metadata: EpisodeMetadata, rows: Rows | None, fps: float, root: Path
) -> RecordingFrames:
    """Return the frames that lerobot reads: those at from_timestamp + each row's timestamp.

    Raise DataError if the video does not contain them, or another recording begins before they end.
    """
    if metadata.length < 1 or span.start < 0:
        reason = f"the metadata states {metadata.length} frames, from frame {span.start} of its video on"
        raise _unusable_error(reason, span.video)
    if not storage.has(span.video):
        raise _unusable_error(f"the video file is missing ({span.video.relative_to(root)})", span.video)
    index = index_video(storage.fetch(span.video))
    if not rates_match(span, index.info.fps, fps):
        reason = f"the video's frame rate is not the dataset's ({index.info.fps:g}, not {fps:g} fps)"
        raise _unusable_error(reason, span.video)
    available = index.info.frames - span.start
    if available < metadata.length:
        reason = f"fewer frames than the metadata states ({max(0, available)} of {metadata.length})"
        raise _unusable_error(reason, span.video)
    usable = available if span.available_frames is None else min(available, span.available_frames)
    if usable < metadata.length:
        reason = f"another recording begins in its video before it ends (after {usable} of {metadata.length} frames)"
        raise _unusable_error(reason, span.video)
    offset = rows.first_frame(fps) if rows else 0
    if offset + metadata.length > usable:  # the timestamps do not count from this video's start
        offset = 0
    begin = span.start + offset
    notes = [index.info.note, link_note(span.video, root), f"begins at frame {offset} of its video" if offset else ""]
    times_T = index.times[begin : begin + metadata.length]
    footage = VideoFootage(span.video, begin)
    return RecordingFrames(
        footage, index.info.height, index.info.width, tuple(find_gaps(times_T)), "; ".join(filter(None, notes))
    )


def find_image_frames(
    storage: Storage, camera: str, metadata: EpisodeMetadata, version: int, root: Path
) -> RecordingFrames:
    """Return the episode's images as frames. Raise DataError if one is missing or damaged."""
    if not storage.has(metadata.data):
        raise _unusable_error(f"the data file is missing ({metadata.data.relative_to(root)})", metadata.data)
    footage, count = find_images(root, storage.fetch(metadata.data), camera, metadata.index, version)
    if count < metadata.length:
        raise _unusable_error(f"fewer images than the metadata states ({count} of {metadata.length})", metadata.data)
    footage.frame_features(metadata.length)  # raises if one cannot be read
    _, first_HWC = next(footage.frames([0]))
    return RecordingFrames(footage, *first_HWC.shape[:2])


def _unusable_error(what: str, file: Path) -> DataError:
    return DataError(what, where=str(file), hint="Restore it, or remove the episode.")


def check_not_depth(camera: str, feature: dict[str, Any]) -> None:
    """Raise DataError if the camera is a depth map: by its flag, or by its name and one channel."""
    flagged = any(
        isinstance(info := feature.get(key), dict) and (info.get("is_depth_map") or info.get("video.is_depth_map"))
        for key in ("info", "video_info")
    )
    shape = feature.get("shape")
    if flagged or ("depth" in camera.lower() and isinstance(shape, list) and 1 in shape):
        raise DataError(DEPTH, where=camera, hint="Choose other cameras.")
