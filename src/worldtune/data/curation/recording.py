"""A recording as small images, by which footage is recognized.

Shapes: T frames of the recording, N samples at `SEARCH_RATE`, S state and A action dimensions.
"""

import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from worldtune.data.episode import Episode
from worldtune.data.video.frame_features import FrameFeatures

SEARCH_RATE = 8.0  # samples a second by which recordings are searched
LUMA_CELLS, CHROMA_VALUES = 16 * 16, 2 * 8 * 8  # values of a frame's small images


@dataclass(frozen=True, eq=False)
class Recording:
    """One camera's recording of one episode.

    times (T,) are the seconds of its frames. samples (N, 64) uint8 are images of 8×8, `SEARCH_RATE` per second.
    compressed holds the thumbnails and colors of all frames. rows (T, S + A) are states and actions, None if there
    are none.
    """

    episode: str
    camera: str
    times: np.ndarray
    samples: np.ndarray
    compressed: bytes
    rows: np.ndarray | None

    @property
    def name(self) -> str:
        return f"{self.episode}/{self.camera}"

    @property
    def seconds(self) -> float:
        """The duration from its first frame to its last."""
        return float(self.times[-1] - self.times[0])

    @property
    def fps(self) -> float:
        """The average number of frames per second."""
        return (len(self.times) - 1) / self.seconds if self.seconds > 0 else SEARCH_RATE

    @property
    def content(self) -> tuple[bytes, ...]:
        """All that it holds except its names; equal for equal recordings."""
        rows = () if self.rows is None else _array_content(self.rows)
        return self.compressed, *_array_content(self.times), *_array_content(self.samples), *rows

    def frames_at(self, seconds: np.ndarray) -> np.ndarray:
        """Return the numbers of the frames nearest to these times, in seconds after the first frame."""
        return _nearest_frames(self.times, seconds)

    def thumbnails(self) -> np.ndarray:
        """Return uint8 (T, 384): for each frame the luma of 16×16 cells, then Cb and Cr of 8×8."""
        return _decompress(self)[0]

    def coarse_luma(self) -> np.ndarray:
        """Return float32 (T, 64): for each frame the luma of 8×8 cells."""
        return _decompress(self)[1]


def build_recording(episode: Episode, frame_features: FrameFeatures) -> Recording:
    """Return the episode's recording; `frame_features` are those of all its frames."""
    T = len(frame_features.thumbs)
    times = np.asarray(episode.times if episode.times is not None else np.arange(T) / episode.fps, np.float64)
    thumbnails = np.concatenate(
        [frame_features.thumbs.reshape(T, LUMA_CELLS), frame_features.colors.reshape(T, CHROMA_VALUES)], axis=1
    )
    steps = np.diff(thumbnails, axis=0, prepend=np.zeros_like(thumbnails[:1]))
    rows = [array_TD for array_TD in (episode.states, episode.actions) if array_TD is not None]
    sampled = _nearest_frames(times, np.arange(0, times[-1] - times[0] + 1e-6, 1 / SEARCH_RATE))
    return Recording(
        episode.name,
        episode.camera,
        times,
        np.rint(_halve(frame_features.thumbs[sampled])).astype(np.uint8),
        zlib.compress(steps.tobytes(), 1),
        np.concatenate(rows, axis=1) if rows else None,
    )


def _array_content(array: np.ndarray) -> tuple[bytes, bytes]:
    return f"{array.dtype.str} {array.shape}".encode(), array.tobytes()


def _nearest_frames(times: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    return np.searchsorted((times[1:] + times[:-1]) / 2 - times[0], seconds, side="right")


def _halve(thumbs_TSS: np.ndarray) -> np.ndarray:
    """Return float32 (T, 64): the means of 2×2 cells of 16×16."""
    upper_TSS, lower_TSS = thumbs_TSS[:, ::2].astype(np.float32), thumbs_TSS[:, 1::2].astype(np.float32)
    sums_TSS = upper_TSS + lower_TSS
    return ((sums_TSS[:, :, ::2] + sums_TSS[:, :, 1::2]) / 4).reshape(-1, 64)


@lru_cache(maxsize=64)
def _decompress(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    steps = np.frombuffer(zlib.decompress(recording.compressed), np.uint8).reshape(-1, LUMA_CELLS + CHROMA_VALUES)
    thumbnails = np.cumsum(steps, axis=0, dtype=np.uint8)
    return thumbnails, _halve(thumbnails[:, :LUMA_CELLS].reshape(-1, 16, 16))
