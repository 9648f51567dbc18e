"""Reading and writing mp4 files, frame by frame.

Shapes: T frames, H height, W width, C colour channels (red, green, blue). All pictures are uint8.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from worldtune.episodes.video_file import open_video, packets, video_stream
from worldtune.errors import DataError

Fit = Literal["stretch", "cover", "letterbox"]


def decode(path: Path, stamp: int | None = None) -> Iterator[av.VideoFrame]:
    """The frames in order of presentation, from a key frame at or before the one of `stamp`.

    Raises DataError at the first one that cannot be decoded.
    """
    count = 0
    try:
        with open_video(path) as container:
            stream = video_stream(container, path)
            stream.thread_type = "AUTO"
            if stamp is not None:
                container.seek(stamp, stream=stream)
            for packet in packets(container, stream, path):
                for frame in packet.decode():
                    if packet.is_corrupt or frame.is_corrupt:
                        raise _damaged(path, count, "damaged data")
                    yield frame
                    count += 1
    except FFmpegError as error:
        raise _damaged(path, count, str(error.strerror)) from error


def _damaged(path: Path, count: int, text: str) -> DataError:
    return DataError(
        f"the video cannot be decoded past frame {count}: {text}",
        where=str(path),
        mend="Export it again, or remove its episode.",
    )


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Every frame of the file in order, as uint8 (H, W, 3). Raises DataError where decoding fails."""
    for frame in decode(path):
        yield picture(path, frame)


def picture(path: Path, frame: av.VideoFrame) -> np.ndarray:
    """uint8 (H, W, 3), as it is to be seen: turned if the metadata say so. Raises DataError for any other angle."""
    return np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns(path, frame))


def quarter_turns(path: Path, frame: av.VideoFrame) -> int:
    """How often to turn the picture by 90°, counter-clockwise. Raises DataError when that does not do."""
    turns, rest = divmod(round(frame.rotation), 90)
    if rest:
        what = f"its metadata turn the picture by {frame.rotation:g}°"
        raise DataError(what, where=str(path), mend="Export it again, upright.")
    return turns % 4


def fit_frame(frame_HWC: np.ndarray, height: int, width: int, fit: Fit) -> np.ndarray:
    """The picture at height × width.

    stretch: both sides scaled on their own; cover: scaled to cover, centre cut out; letterbox: scaled
    to fit inside, black bars. Area averaging on the way down, linear on the way up; a picture that
    has the size already is returned as it is.
    """
    old_height, old_width = frame_HWC.shape[:2]
    if (old_height, old_width) == (height, width):
        return frame_HWC
    if fit == "stretch":
        return _resize(frame_HWC, height, width)
    ratios = height / old_height, width / old_width
    scale = max(ratios) if fit == "cover" else min(ratios)
    inner = _resize(frame_HWC, max(1, round(old_height * scale)), max(1, round(old_width * scale)))
    top, left = (inner.shape[0] - height) // 2, (inner.shape[1] - width) // 2
    if fit == "cover":
        return inner[top : top + height, left : left + width]
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[-top : inner.shape[0] - top, -left : inner.shape[1] - left] = inner
    return canvas


def _resize(frame_HWC: np.ndarray, height: int, width: int) -> np.ndarray:
    shrinks = height * width < frame_HWC.shape[0] * frame_HWC.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame_HWC, (width, height), interpolation=method), np.uint8)


def write_video(path: Path, frames_THWC: np.ndarray, fps: float) -> None:
    """Write an h264 yuv420p mp4 at a constant rate: crf 14, a key frame every 2 frames, index in front.

    One encoder thread and no B-frames, so that the bytes do not depend on the machine's cores.
    Raises DataError unless the frames are uint8 (T, H, W, 3), T ≥ 1, with even sides (yuv420p has
    one colour sample for 2×2 pixels).
    """
    T, H, W, C = frames_THWC.shape if frames_THWC.ndim == 4 else (0, 0, 0, 0)
    if frames_THWC.dtype != np.uint8 or C != 3 or T < 1 or H % 2 or W % 2:
        raise DataError(
            f"frames are {frames_THWC.dtype} {frames_THWC.shape}, not uint8 (T, H, W, 3) with even sides",
            where=str(path),
            mend="Give at least one frame, and sides that are multiples of 2.",
        )
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        _set_up(stream, H, W)
        for frame_HWC in frames_THWC:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
            container.mux(stream.encode(picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)))
        container.mux(stream.encode(None))


def _set_up(stream: VideoStream, height: int, width: int) -> None:
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    stream.codec_context.thread_count = 1
    stream.options = {"crf": "14", "g": "2", "bf": "0", "colorspace": "smpte170m"}
