"""Write videos as other tools do, in any container and codec.

Shapes: H height, W width, C colors.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream


def write_frames(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    bit_rate: int | None = None,
) -> None:
    """Write uint8 (H, W, 3) frames, at least one, as yuv420p; `options` are those of the codec."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options=options or {})
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = "yuv420p"
        if bit_rate:
            stream.bit_rate = bit_rate
        for number, frame_HWC in enumerate(frames):
            if not number:
                stream.height, stream.width = frame_HWC.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(frame_HWC), format="rgb24")))
        container.mux(stream.encode(None))
