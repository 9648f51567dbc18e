"""An index of a video file, made by decoding all of it once.

Shapes: H height, W width.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange
from safetensors.numpy import load, save

from worldtune.core.ranges import MAX_FPS, MIN_FPS
from worldtune.core.strict_io import parse_json
from worldtune.data.video.declared_size import declared_size
from worldtune.data.video.decode import decode_frames, display_width, pixel_aspect_ratio, quarter_turns
from worldtune.data.video.file_cache import cached, file_state
from worldtune.data.video.frame_features import FEATURES_FORMAT, PATCHES, FrameFeatureExtractor, FrameFeatures, chroma
from worldtune.data.video.video_file import open_video, read_packets, video_stream
from worldtune.errors import DataError

INDEX_FORMAT = "video index 4"
INDEX_KEY = f"{INDEX_FORMAT} av {av.__version__}"
FEATURES_KEY = f"{FEATURES_FORMAT} of {INDEX_KEY}"
PLANAR_FORMATS = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
LUMA_TO_FULL_RANGE = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
"""Maps the usual luma, from 16 to 235 (ITU-R BT.601 §2.5.3), to 0 to 255."""
CHROMA_TO_FULL_RANGE = np.clip(np.rint((np.arange(256) - 128) * 255 / 224 + 128), 0, 255).astype(np.uint8)
"""Maps the usual chroma, from 16 to 240, to 0 to 255."""


@dataclass(frozen=True)
class VideoInfo:
    """Measurements from decoding the whole file; height and width are those of the displayed frame.

    `has_constant_rate`: whether every frame lies within half a frame time of i/fps. `rotation`: by how many degrees,
    clockwise, the metadata rotate the frame for display. `pixel_aspect_ratio`: width by height of the file's pixels;
    the displayed frame has square pixels.
    """

    frames: int
    fps: float
    height: int
    width: int
    has_constant_rate: bool
    rotation: int = 0
    pixel_aspect_ratio: float = 1.0

    @property
    def note(self) -> str:
        """Notes for the ledger."""
        uneven = "" if self.has_constant_rate else "frames unevenly spaced in time"
        stretched = (
            ""
            if self.pixel_aspect_ratio == 1
            else f"made of pixels {self.pixel_aspect_ratio:.3g} times as wide as tall"
        )
        rotated = f"rotated by {self.rotation}°, as its metadata says" if self.rotation else ""
        return "; ".join(filter(None, [uneven, stretched, rotated]))


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """A file's measurements, its frames' timestamps and seconds, and the key frames where decoding can begin.

    All arrays are empty if the timestamps do not rise: such a file is read from its beginning.
    """

    info: VideoInfo
    stamps: np.ndarray
    keys: np.ndarray
    times: np.ndarray

    def find_frame(self, stamp: int | None) -> int | None:
        """Return the number of the frame with that timestamp, or None."""
        position = int(np.searchsorted(self.stamps, -1 if stamp is None else stamp))
        return position if position < len(self.stamps) and self.stamps[position] == stamp else None


def measure_video(path: Path) -> VideoInfo:
    """Decode every frame of `path` and return its measurements; lengths stated by containers may be wrong.

    The result is cached until the file changes.
    Raise DataError if the file is missing, damaged, cut short or has no frame rate.
    """
    return index_video(path).info


def index_video(path: Path) -> VideoIndex:
    """Return the index by which frames are found. Raise DataError as `measure_video` does."""
    return _cached_index(path, file_state(path))


def video_frame_features(path: Path) -> FrameFeatures:
    """Return the features of every frame of the file. Raise DataError as `measure_video` does."""
    return _cached_frame_features(path, file_state(path))


@lru_cache(maxsize=2)  # episodes share files
def _cached_frame_features(path: Path, state: str) -> FrameFeatures:
    return FrameFeatures.from_bytes(cached(path, FEATURES_KEY, lambda: _decode_all(path)))


@lru_cache(maxsize=65536)
def _cached_index(path: Path, state: str) -> VideoIndex:
    arrays = load(cached(path, INDEX_KEY, lambda: _decode_all(path)))
    info = VideoInfo(**parse_json(arrays["facts"].tobytes(), str(path)))
    return VideoIndex(info, arrays["stamps"], arrays["keys"], arrays["times"])


def _decode_all(path: Path) -> dict[str, bytes]:
    _check_complete(path)
    rate, pixel_ratio, key_stamps = _header(path)
    if rate and not MIN_FPS <= rate <= MAX_FPS:  # at a lower rate, resampling would make billions of frames
        hint = "Export it again with its camera's rate."
        raise DataError(f"the video claims {rate:.3g} frames per second", where=str(path), hint=hint)
    times: list[float] = []
    stamps: list[int | None] = []
    extractor, height, width, turns = FrameFeatureExtractor(), 0, 0, 0
    for frame in decode_frames(path):
        times.append(frame.time if frame.time is not None else np.nan)
        stamps.append(frame.pts)
        height, width, turns = frame.height, display_width(frame.width, pixel_ratio), quarter_turns(path, frame)
        extractor.add(np.rot90(_luma(frame), turns), [np.rot90(plane, turns) for plane in _chroma(frame)])
    if not rate or not times:
        raise DataError("the video has no frames or no frame rate", where=str(path), hint="Export it again.")
    drift = np.abs(np.asarray(times) - times[0] - np.arange(len(times)) / rate)
    sides = (width, height) if turns % 2 else (height, width)
    info = VideoInfo(len(times), rate, *sides, bool((drift < 0.5 / rate).all()), -90 * turns % 360, pixel_ratio)
    stamps_T = np.asarray([-1 if stamp is None else stamp for stamp in stamps], np.int64)
    if None in stamps or not (np.diff(stamps_T) > 0).all():
        stamps_T, times = np.empty(0, np.int64), []
    keys = np.flatnonzero(np.isin(stamps_T, list(key_stamps)))
    arrays = {"stamps": stamps_T, "keys": keys, "times": np.asarray(times, np.float64)}
    arrays["facts"] = np.frombuffer(json.dumps(asdict(info)).encode(), np.uint8)
    return {INDEX_KEY: save(arrays), FEATURES_KEY: extractor.frame_features.to_bytes()}


def _header(path: Path) -> tuple[float, float, set[int]]:
    """Return the frame rate, the pixel aspect ratio, and the timestamps of the key frames."""
    try:
        with open_video(path) as container:
            stream = video_stream(container, path)
            rate, pixel_ratio = stream.average_rate, pixel_aspect_ratio(stream, path)
            packets_read = read_packets(container, stream, path)
            keys = {packet.pts for packet in packets_read if packet.is_keyframe and packet.pts is not None}
    except FFmpegError as error:
        raise DataError(
            f"the video cannot be read: {error.strerror}", where=str(path), hint="Copy it again."
        ) from error
    return float(rate or 0), pixel_ratio, keys


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """Return the luma, uint8 (H, W), 0 to 255; the usual formats need no color conversion."""
    if frame.format.name not in PLANAR_FORMATS:
        return frame.to_ndarray(format="gray")
    luma_HW = _plane(frame, 0)
    return luma_HW if frame.color_range == ColorRange.JPEG else np.asarray(cv2.LUT(luma_HW, LUMA_TO_FULL_RANGE))


def _chroma(frame: av.VideoFrame) -> Sequence[np.ndarray]:
    """Return the Cb and Cr planes, each uint8 (h, w), 0 to 255."""
    if frame.format.name not in PLANAR_FORMATS:
        return chroma(frame.to_ndarray(format="rgb24"))
    small = [cv2.resize(_plane(frame, number), (PATCHES, PATCHES), interpolation=cv2.INTER_AREA) for number in (1, 2)]
    return (
        small
        if frame.color_range == ColorRange.JPEG
        else [np.asarray(cv2.LUT(plane, CHROMA_TO_FULL_RANGE)) for plane in small]
    )


def _plane(frame: av.VideoFrame, number: int) -> np.ndarray:
    plane = frame.planes[number]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def _check_complete(path: Path) -> None:
    size = path.stat().st_size
    if size == 0:
        raise DataError("the file is empty", where=str(path), hint="Copy it again, or remove its episode.")
    try:
        declared = declared_size(path)
    except OSError as error:
        what = f"the video cannot be read: {error.strerror}"
        raise DataError(what, where=str(path), hint="Make the file readable.") from error
    if declared > size:
        what = f"the video is cut short ({size:,} of {declared:,} bytes)"
        raise DataError(what, where=str(path), hint="Copy it again, or remove its episode.")
