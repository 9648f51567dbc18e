"""mp4 files for browsers: H.264, yuv420p, index at the front, small pictures enlarged pixel by pixel.

Shape letters: T frames, H height, W width, C channels.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from worldtune.evaluation.cases.case import Frames

TINY, SMALL = 96, 192
BT709 = 1


def enlargement(height: int, width: int) -> int:
    """Return the enlargement factor: 4 if the longer side has up to 96 pixels, 2 up to 192, else 1."""
    longer = max(height, width)
    return 4 if longer <= TINY else 2 if longer <= SMALL else 1


def enlarge(frames_THWC: Frames, times: int) -> Frames:
    """Return the frames with each pixel repeated `times` by `times`: (T, H·times, W·times, C)."""
    return np.repeat(np.repeat(frames_THWC, times, axis=-3), times, axis=-2)


def write_report_video(path: Path, frames_THWC: Frames, fps: float) -> None:
    """Write `frames_THWC` (uint8 RGB) at `fps` as a preview. Odd sides are padded by their last row or column.

    The mp4 is lossy (x264 crf 16); figures are computed from arrays, never from it.
    """
    shown = enlarge(frames_THWC, enlargement(*frames_THWC.shape[1:3]))
    shown = np.pad(shown, ((0, 0), (0, shown.shape[1] % 2), (0, shown.shape[2] % 2), (0, 0)), mode="edge")
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width, stream.pix_fmt = shown.shape[1], shown.shape[2], "yuv420p"
        stream.options = {"crf": "16", "preset": "veryfast", "bf": "0", "g": "16", "threads": "1"}
        context = stream.codec_context
        context.color_primaries = context.color_trc = context.colorspace = BT709
        context.color_range = ColorRange.MPEG
        for picture_HWC in shown:
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture_HWC), format="rgb24")
            yuv = rgb.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            container.mux(stream.encode(yuv))
        container.mux(stream.encode(None))
