"""What a video file holds, found by decoding all of it once.

Shapes: H height, W width.
"""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import ColorRange
from safetensors.numpy import load, save

from worldtune.core.strict_io import parse_json
from worldtune.episodes.looks import FORMAT, Look, Looks
from worldtune.episodes.seen import remembered, state_of
from worldtune.episodes.video import decode, quarter_turns
from worldtune.episodes.video_file import open_video, packets, video_stream
from worldtune.errors import DataError

SCAN, LOOKS = f"scan 2 av {av.__version__}", f"{FORMAT} of scan 2 av {av.__version__}"
PLANAR = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p")
FULL = np.clip(np.rint((np.arange(256) - 16) * 255 / 219), 0, 255).astype(np.uint8)
"""Luma from 0 to 255 of the usual one, which goes from 16 to 235 (ITU-R BT.601 §2.5.3)."""


@dataclass(frozen=True)
class VideoFacts:
    """What decoding the whole file showed; sizes are those of the picture as it is to be seen.

    `steady`: every frame lies within half a frame time of i/fps. `turned`: by how many degrees the metadata say that
    the picture is to be turned, clockwise.
    """

    frames: int
    fps: float
    height: int
    width: int
    steady: bool
    turned: int = 0

    @property
    def note(self) -> str:
        """What the reader of a ledger should know."""
        uneven = "" if self.steady else "frames not evenly spaced in time"
        return "; ".join(
            filter(None, [uneven, f"turned by {self.turned}°, as its metadata say" if self.turned else ""])
        )


@dataclass(frozen=True, eq=False)
class Scan:
    """A whole file's facts, the time stamps of its frames, which of these a decoder can begin at, and the seconds.

    All are empty where time stamps do not rise: such a file is read from its beginning.
    """

    facts: VideoFacts
    stamps: np.ndarray
    keys: np.ndarray
    times: np.ndarray

    def number(self, stamp: int | None) -> int | None:
        """Which frame has that time stamp, if any."""
        place = int(np.searchsorted(self.stamps, -1 if stamp is None else stamp))
        return place if place < len(self.stamps) and self.stamps[place] == stamp else None


def measure(path: Path) -> VideoFacts:
    """Decode every frame of `path` and count it: containers state lengths that are not there.

    The answer is remembered for as long as the file stays as it is.
    Raises DataError when the file is missing, damaged, cut short or has no frame rate.
    """
    return scan(path).facts


def scan(path: Path) -> Scan:
    """What `measure` says, and how to find a frame again. Raises DataError as it does."""
    return _scan(path, state_of(path))


def looks_of(path: Path) -> Looks:
    """What every frame of the file looks like. Raises DataError as `measure` does."""
    return _looks(path, state_of(path))


@lru_cache(maxsize=2)  # episodes share files
def _looks(path: Path, state: str) -> Looks:
    return Looks.from_bytes(remembered(path, LOOKS, lambda: _decode_all(path)))


@lru_cache(maxsize=65536)
def _scan(path: Path, state: str) -> Scan:
    found = load(remembered(path, SCAN, lambda: _decode_all(path)))
    facts = VideoFacts(**parse_json(found["facts"].tobytes(), str(path)))
    return Scan(facts, found["stamps"], found["keys"], found["times"])


def _decode_all(path: Path) -> dict[str, bytes]:
    _refuse_short(path)
    rate, begins = _rate_and_keys(path)
    times: list[float] = []
    stamps: list[int | None] = []
    look, height, width, turns = Look(), 0, 0, 0
    for frame in decode(path):
        times.append(frame.time if frame.time is not None else np.nan)
        stamps.append(frame.pts)
        height, width, turns = frame.height, frame.width, quarter_turns(path, frame)
        look.at(np.rot90(_luma(frame), turns))
    if not rate or not times:
        raise DataError("the video has no frames or no frame rate", where=str(path), mend="Export it again.")
    drift = np.abs(np.asarray(times) - times[0] - np.arange(len(times)) / rate)
    sides = (width, height) if turns % 2 else (height, width)
    facts = VideoFacts(len(times), rate, *sides, bool((drift < 0.5 / rate).all()), turned=-90 * turns % 360)
    stamps_T = np.asarray([-1 if stamp is None else stamp for stamp in stamps], np.int64)
    if None in stamps or not (np.diff(stamps_T) > 0).all():
        stamps_T, times = np.empty(0, np.int64), []
    keys = np.flatnonzero(np.isin(stamps_T, list(begins)))
    arrays = {"stamps": stamps_T, "keys": keys, "times": np.asarray(times, np.float64)}
    arrays["facts"] = np.frombuffer(json.dumps(asdict(facts)).encode(), np.uint8)
    return {SCAN: save(arrays), LOOKS: look.looks.to_bytes()}


def _rate_and_keys(path: Path) -> tuple[float, set[int]]:
    try:
        with open_video(path) as container:
            stream = video_stream(container, path)
            rate = stream.average_rate
            read = packets(container, stream, path)
            keys = {packet.pts for packet in read if packet.is_keyframe and packet.pts is not None}
    except FFmpegError as error:
        raise DataError(
            f"the video cannot be read: {error.strerror}", where=str(path), mend="Copy it again."
        ) from error
    return float(rate or 0), keys


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """uint8 (H, W), 0 to 255; of the usual formats without a conversion of the colours."""
    if frame.format.name not in PLANAR:
        return frame.to_ndarray(format="gray")
    plane = frame.planes[0]
    luma_HW = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    return luma_HW if frame.color_range == ColorRange.JPEG else np.asarray(cv2.LUT(luma_HW, FULL))


def _refuse_short(path: Path) -> None:
    size = path.stat().st_size
    if size == 0:
        raise DataError("the file is empty", where=str(path), mend="Copy it again, or remove its episode.")
    try:
        whole = _declared_size(path, size)
    except OSError as error:
        what = f"the video cannot be read: {error.strerror}"
        raise DataError(what, where=str(path), mend="Give yourself the right to read it.") from error
    if whole > size:
        what = f"the video is cut short ({size:,} of {whole:,} bytes)"
        raise DataError(what, where=str(path), mend="Copy it again, or remove its episode.")


def _declared_size(path: Path, length: int) -> int:
    """Bytes that the top-level boxes of a file of that length claim (ISO/IEC 14496-12 §4.2).

    A cut between two frames decodes without an error.
    """
    end = 0
    with path.open("rb") as file:
        while len(header := file.read(16)) >= 8:
            size, kind = int.from_bytes(header[:4]), header[4:8]
            if end == 0 and kind != b"ftyp":
                return 0
            size = int.from_bytes(header[8:]) if size == 1 else size
            if size < 8:  # 0: the box goes on to the end of the file
                break
            end += size
            if end > length:
                break
            file.seek(end)
    return end
