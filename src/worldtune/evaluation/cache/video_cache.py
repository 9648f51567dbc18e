"""The cache of generated videos: interrupted evaluations continue from it, and later evaluations reuse it.

A video is a file named by the digest of everything it depends on. It is lossless: RGB H.264 at QP 0 in Matroska.

Shape letters: T frames, H height, W width, C channels.
"""

from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream

from worldtune.core.files import atomic_file, digest_json
from worldtune.data.video.decode import read_frames
from worldtune.errors import DataError
from worldtune.evaluation.cache.score_cache import cache_path
from worldtune.evaluation.cases.case import Frames, Video

Key = dict[str, Any]
FILE_FPS = 16  # frame rate stated in the file; readers ignore it


class VideoCache:
    """A cache of videos under `folder`; a key holds everything that a video depends on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: Key) -> Path:
        """Return the path of the video for a key, whether or not it exists."""
        return cache_path(self.folder, key, ".mkv")

    def video(self, key: Key) -> Video:
        """Return the cached video of a key."""

        def source() -> Frames:
            frames_THWC = self.get(key)
            if frames_THWC is None:
                what = "a cached video was deleted while it was in use"
                raise DataError(what, where=str(self.path(key)), hint="Run it again, and leave the cache folder alone.")
            return frames_THWC

        return Video(source, digest_json(key), str(self.path(key)))

    def put(self, key: Key, frames_THWC: Frames) -> None:
        """Write uint8 RGB frames atomically. Raise UserError if the folder is not writable."""
        with atomic_file(self.path(key)) as partial:
            _write(partial, frames_THWC)

    def get(self, key: Key) -> Frames | None:
        """Return the cached frames, or None. Raise DataError if the file is damaged."""
        path = self.path(key)
        if not path.is_file():
            return None
        try:
            return np.stack(list(read_frames(path)))
        except (DataError, ValueError) as error:
            what = f"a cached video cannot be read: {error.what if isinstance(error, DataError) else error}"
            raise DataError(what, where=str(path), hint="Delete it: it will be generated again.") from error


def _write(path: Path, frames_THWC: Frames) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream(
            "libx264rgb", rate=FILE_FPS, options={"qp": "0", "preset": "veryfast", "threads": "1"}
        )
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames_THWC.shape[1], frames_THWC.shape[2], "rgb24"
        for frame_HWC in frames_THWC:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame_HWC), format="rgb24")))
        container.mux(stream.encode(None))
