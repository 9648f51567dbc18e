"""Videos to label: mp4 files, or frames in memory.

Shape letters: T frames, H×W pixels, C colors, S numbers of a state.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldtune.data.video.decode import fit_frame, read_frames
from worldtune.data.video.video_index import measure_video
from worldtune.dreams.idm.card import IdmCard
from worldtune.dreams.idm.examples import Array, Frames
from worldtune.dreams.idm.labels import Labels
from worldtune.dreams.idm.model import InverseDynamics
from worldtune.errors import DataError

VideoToLabel = str | Path | Frames
RATE_TOLERANCE = 0.01  # relative


def label_videos(
    idm: InverseDynamics, videos: Sequence[VideoToLabel], starts: Sequence[Array | None] | None = None
) -> list[Labels]:
    """Return the labels of each video; `starts` are the known first states.

    Raise DataError if there is no video, a file cannot be read or has another rate, or the starts do not fit.
    """
    if not len(videos):
        raise DataError("there is no video to label", where=idm.card.name, hint="Give mp4 files.")
    if starts is not None and len(starts) != len(videos):
        what = f"{len(starts)} starts do not fit {len(videos)} videos"
        raise DataError(what, where=idm.card.name, hint="Give a state, or None, for each video.")
    known = starts if starts is not None else [None] * len(videos)
    return [
        idm.label(video if isinstance(video, np.ndarray) else read_video(Path(video), idm.card), start_S)
        for video, start_S in zip(videos, known, strict=True)
    ]


def read_video(path: Path, card: IdmCard) -> Frames:
    """Return a file's frames, uint8 (T, H, W, C), at the IDM's size. Raise DataError if it has another rate."""
    rate = measure_video(path).fps
    if abs(rate / card.fps - 1) > RATE_TOLERANCE:
        what = f"the video has {rate:g} frames per second, the IDM {card.name} was trained with {card.fps:g}"
        raise DataError(what, where=str(path), hint="Convert the video, or train an IDM at this rate.")
    return np.stack([fit_frame(frame_HWC, card.height, card.width, card.fit) for frame_HWC in read_frames(path)])
