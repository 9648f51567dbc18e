"""A training window of one camera of one episode, and its frames.

Shapes: T frames, H height, W width, C colour channels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from worldtune.episodes.seeking import read_chosen
from worldtune.episodes.video import Fit, fit_frame
from worldtune.errors import DataError


@dataclass(frozen=True)
class Clip:
    """One training window of one camera of one episode; frames are decoded by `read_clip`.

    `source` is the folder as the user named it. `picks` are the episode's frames that make the
    clip, in order and after retiming; the episode begins at frame `video_start` of `video`.
    `fps`, `height`, `width` and `fit` are those of the clip, not of the file.
    """

    source: str
    episode: str
    camera: str
    task: str
    caption: str
    video: Path
    video_start: int
    picks: tuple[int, ...]
    fps: float
    height: int
    width: int
    fit: Fit

    @property
    def name(self) -> str:
        """Unique within a source: episode, camera and first frame."""
        return f"{self.episode}/{self.camera}/{self.picks[0]}"

    @property
    def last_frame(self) -> int:
        """The last frame of the file that the clip needs."""
        return self.video_start + max(self.picks)


def read_clip(clip: Clip) -> np.ndarray:
    """The clip's frames, uint8 (T, H, W, 3) at clip.height × clip.width.

    Raises DataError when the video cannot be decoded or ends before the clip's last frame.
    """
    ((_, frames_THWC),) = read_clips([clip])
    return frames_THWC


def read_clips(clips: Sequence[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
    """Every clip with its frames as `read_clip` gives them, each video decoded once.

    Clips come out by video and by last frame. Raises DataError as `read_clip` does.
    """
    ordered = sorted(clips, key=lambda clip: (str(clip.video), clip.last_frame))
    for video, group in groupby(ordered, key=lambda clip: clip.video):
        yield from _one_pass(video, list(group))


def _one_pass(video: Path, waiting: list[Clip]) -> Iterator[tuple[Clip, np.ndarray]]:
    """`waiting` is sorted by last frame; frames that no waiting clip needs are let go."""
    wanted = {clip.video_start + pick for clip in waiting for pick in clip.picks}
    kept: dict[int, np.ndarray] = {}
    for index, frame_HWC in read_chosen(video, sorted(wanted)):
        kept[index] = frame_HWC
        while waiting and waiting[0].last_frame == index:
            clip = waiting.pop(0)
            yield clip, _assemble(clip, kept)
            first = min((clip.video_start + clip.picks[0] for clip in waiting), default=index + 1)
            kept = {i: frame for i, frame in kept.items() if i >= first}
        if not waiting:
            return
    raise DataError(
        f"the video ends before frame {waiting[0].last_frame} of clip {waiting[0].name}",
        where=str(video),
        mend="Restore the video, or open the dataset again.",
    )


def _assemble(clip: Clip, kept: dict[int, np.ndarray]) -> np.ndarray:
    return np.stack(
        [fit_frame(kept[clip.video_start + pick], clip.height, clip.width, clip.fit) for pick in clip.picks]
    )
