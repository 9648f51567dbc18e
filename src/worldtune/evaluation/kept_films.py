"""Generated videos that an evaluation keeps, so that one that was cut off goes on, and another may compare them again.

A video is a file by the digest of all that made it, without loss: H.264 of RGB at quantiser 0 in Matroska.

Shape letters: T frames, H height, W width, C channels.
"""

from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream

from worldtune.episodes.video import read_frames
from worldtune.errors import DataError
from worldtune.evaluation.case import Frames, Video
from worldtune.evaluation.kept import place_of
from worldtune.files import atomic_file, digest_json

Key = dict[str, Any]
RATE = 16  # frames a second of the file, which nobody asks for


class KeptFilms:
    """Videos under `folder`; `key` is everything that a video depends on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def place(self, key: Key) -> Path:
        """Where the video is, or would be."""
        return place_of(self.folder, key, ".mkv")

    def video(self, key: Key) -> Video:
        """The video of a key that was put."""

        def source() -> Frames:
            frames_THWC = self.get(key)
            if frames_THWC is None:
                what = "a kept video went away while it was in use"
                raise DataError(what, where=str(self.place(key)), mend="Let nothing delete from it, and start again.")
            return frames_THWC

        return Video(source, digest_json(key), str(self.place(key)))

    def put(self, key: Key, frames_THWC: Frames) -> None:
        """Write uint8 RGB frames, as a whole or not at all. Raises UserError when the folder cannot be written."""
        with atomic_file(self.place(key)) as partial:
            _write(partial, frames_THWC)

    def get(self, key: Key) -> Frames | None:
        """The frames as they were put, None when there are none. Raises DataError when the file is damaged."""
        path = self.place(key)
        if not path.is_file():
            return None
        try:
            return np.stack(list(read_frames(path)))
        except (DataError, ValueError) as error:
            what = f"a kept video cannot be read: {error.what if isinstance(error, DataError) else error}"
            raise DataError(what, where=str(path), mend="Delete it: it is generated again.") from error


def _write(path: Path, frames_THWC: Frames) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream(
            "libx264rgb", rate=RATE, options={"qp": "0", "preset": "veryfast", "threads": "1"}
        )
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames_THWC.shape[1], frames_THWC.shape[2], "rgb24"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")))
        container.mux(stream.encode(None))
