"""Read and write video files, frame by frame.

Shapes: T frames, H height, W width, C color channels (red, green, blue). All frames are uint8.
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

from worldtune.data.video.video_file import MAX_PIXELS, open_video, read_packets, video_stream
from worldtune.errors import DataError

Fit = Literal["stretch", "cover", "letterbox"]
MAX_PIXEL_ASPECT_RATIO = 8


def decode_frames(path: Path, stamp: int | None = None) -> Iterator[av.VideoFrame]:
    """Yield the frames in order of presentation, from a key frame at or before the frame of `stamp`.

    Raise DataError at the first frame that cannot be decoded.
    """
    count = 0
    try:
        with open_video(path) as container:
            stream = video_stream(container, path)
            stream.thread_type = "AUTO"
            if stamp is not None:
                container.seek(stamp, stream=stream)
            for packet in read_packets(container, stream, path):
                for frame in packet.decode():
                    if packet.is_corrupt or frame.is_corrupt:
                        raise _damage_error(path, count, "damaged data")
                    yield frame
                    count += 1
    except FFmpegError as error:
        raise _damage_error(path, count, str(error.strerror)) from error


def _damage_error(path: Path, count: int, text: str) -> DataError:
    return DataError(
        f"the video cannot be decoded past frame {count}: {text}",
        where=str(path),
        hint="Export it again, or remove its episode.",
    )


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Yield every frame of the file in order, as uint8 (H, W, 3). Raise DataError where decoding fails."""
    with open_video(path) as container:
        pixel_ratio = pixel_aspect_ratio(video_stream(container, path), path)
    for frame in decode_frames(path):
        yield rgb_image(path, frame, pixel_ratio)


def rgb_image(path: Path, frame: av.VideoFrame, pixel_ratio: float = 1.0) -> np.ndarray:
    """Return uint8 (H, W, 3) as it is to be displayed: with square pixels, rotated as the metadata say.

    `pixel_ratio` is that of `pixel_aspect_ratio`. Raise DataError if the angle is not a multiple of 90°.
    """
    frame_HWC = frame.to_ndarray(format="rgb24")
    if (width := display_width(frame.width, pixel_ratio)) != frame.width:
        frame_HWC = _resize(frame_HWC, frame.height, width)
    return np.rot90(frame_HWC, quarter_turns(path, frame))


def pixel_aspect_ratio(stream: VideoStream, path: Path) -> float:
    """Return a pixel's width by its height, the sample aspect ratio (ITU-T H.264 §E.2.1); 1 if within 1 % of it.

    FFmpeg's scale filter rounds sides and writes the rest as a ratio such as 1280:1281. Raise DataError for a ratio
    that no camera has.
    """
    pixel_ratio = float(stream.sample_aspect_ratio or 1)
    if (
        not 1 / MAX_PIXEL_ASPECT_RATIO <= pixel_ratio <= MAX_PIXEL_ASPECT_RATIO
        or display_width(stream.width, pixel_ratio) * stream.height > MAX_PIXELS
    ):
        what = f"its pixels are {pixel_ratio:.4g} times as wide as they are tall"
        raise DataError(what, where=str(path), hint="Export it with square pixels (ffmpeg: -vf scale=iw*sar:ih).")
    return 1.0 if abs(pixel_ratio - 1) < 0.01 else pixel_ratio


def display_width(width: int, pixel_ratio: float) -> int:
    """Return the width of the frame once its pixels are square."""
    return max(1, round(width * pixel_ratio))


def quarter_turns(path: Path, frame: av.VideoFrame) -> int:
    """Return how often to turn the frame by 90°, counter-clockwise. Raise DataError for another angle."""
    turns, rest = divmod(round(frame.rotation), 90)
    if rest:
        what = f"its metadata rotates the video by {frame.rotation:g}°, not by a multiple of 90°"
        raise DataError(what, where=str(path), hint="Export it again, upright.")
    return turns % 4


def fit_frame(frame_HWC: np.ndarray, height: int, width: int, fit: Fit) -> np.ndarray:
    """Return the frame at height × width.

    stretch: scale both sides separately; cover: scale to cover, then cut out the center; letterbox: scale to fit
    inside black bars. Area averaging makes a frame smaller, linear interpolation larger; a frame that has the size
    already is returned as it is.
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
    is_smaller = height * width < frame_HWC.shape[0] * frame_HWC.shape[1]
    method = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame_HWC, (width, height), interpolation=method), np.uint8)


def write_video(path: Path, frames_THWC: np.ndarray, fps: float) -> None:
    """Write an h264 yuv420p mp4 at a constant rate: crf 14, a key frame every 2 frames, index in front.

    With one encoder thread and no B-frames, the bytes do not depend on the machine's cores.
    Raise DataError unless the frames are uint8 (T, H, W, 3), T ≥ 1, with even sides (yuv420p has
    one color sample for 2×2 pixels).
    """
    T, H, W, C = frames_THWC.shape if frames_THWC.ndim == 4 else (0, 0, 0, 0)
    if frames_THWC.dtype != np.uint8 or C != 3 or T < 1 or H % 2 or W % 2:
        raise DataError(
            f"frames are {frames_THWC.dtype} {frames_THWC.shape}, not uint8 (T, H, W, 3) with even sides",
            where=str(path),
            hint="Give at least one frame, and sides that are multiples of 2.",
        )
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        _configure_stream(stream, H, W)
        for frame_HWC in frames_THWC:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU601)))
        container.mux(stream.encode(None))


def _configure_stream(stream: VideoStream, height: int, width: int) -> None:
    stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
    stream.codec_context.thread_count = 1
    stream.options = {"crf": "14", "g": "2", "bf": "0", "colorspace": "smpte170m"}
