"""Replacement of boxes in mp4 files whose video data come first."""

import struct
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

TABLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def write_with_index_last(path: Path, frames_THWC: np.ndarray, options: dict[str, str] | None = None) -> None:
    """Write an mp4 file whose boxes can be replaced without moving its video data."""
    with av.open(str(path), "w", format="mp4", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=16, options={"bf": "0", "g": "8"})
        stream.height, stream.width, stream.pix_fmt = *frames_THWC.shape[1:3], "yuv420p"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode(None))


def box(kind: bytes, *numbers: int, after: bytes = b"") -> bytes:
    """Return a box of four-byte integers, followed by the bytes `after`."""
    body = struct.pack(f">{len(numbers)}I", *numbers) + after
    return struct.pack(">I", 8 + len(body)) + kind + body


def exchange(path: Path, where: Sequence[bytes], new: bytes) -> None:
    """Replace the first box at the path `where` with `new`."""
    data = path.read_bytes()
    begin, end = span(data, where)
    longer = len(new) - (end - begin)
    changed = bytearray(data[:begin] + new + data[end:])
    for depth in range(1, len(where)):
        outer, after = span(data, where[:depth])
        changed[outer : outer + 4] = struct.pack(">I", after - outer + longer)
    path.write_bytes(changed)


def span(data: bytes, where: Sequence[bytes]) -> tuple[int, int]:
    """Return where the box begins and ends."""
    begin, end = 0, len(data)
    for number, kind in enumerate(where):
        while data[begin + 4 : begin + 8] != kind:
            begin += struct.unpack(">I", data[begin : begin + 4])[0]
            assert begin < end
        end = begin + struct.unpack(">I", data[begin : begin + 4])[0]
        begin += 8 if number < len(where) - 1 else 0
    return begin, end
