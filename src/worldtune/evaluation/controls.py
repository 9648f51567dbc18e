"""Candidates that need no model, which every adapter must beat: the first frame held, and a training clip shown again.

Shape letters: N clips, T frames, H height, W width, C channels, D values of a thumbnail.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from worldtune.episodes.video import fit_frame
from worldtune.evaluation.case import Case, Frames, Video
from worldtune.files import digest_json

SIDE = 16  # pixels of a thumbnail's side


def frozen(case: Case) -> Video:
    """The first frame of the reference, held for its whole length: (T, H, W, C)."""

    def still() -> Frames:
        reference_THWC = case.reference.read()
        return np.broadcast_to(reference_THWC[:1], reference_THWC.shape)

    return Video(still, digest_json(["frozen", case.reference.digest]), case.name)


def thumbnails(frames_THWC: Frames) -> npt.NDArray[np.float32]:
    """(T, D): each frame at 16 by 16 pixels, in levels."""
    small = [cv2.resize(frame_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame_HWC in frames_THWC]
    return np.stack(small).reshape(len(small), -1).astype(np.float32)


def nearest(case: Case, training: Sequence[Video], first_ND: npt.NDArray[np.float32]) -> Video:
    """The training clip whose first frame is most like the case's; `first_ND` are the thumbnails of these.

    A longer one is cut, of a shorter one the last frame is held.
    """
    wanted_D = thumbnails(case.reference.read()[:1])[0]
    clip = training[int(np.square(first_ND - wanted_D).sum(1).argmin())]

    def as_long() -> Frames:
        T, H, W = case.reference.read().shape[:3]
        frames_THWC = clip.read()
        fitted_THWC = np.stack([fit_frame(frame_HWC, H, W, "stretch") for frame_HWC in frames_THWC])
        return fitted_THWC[np.minimum(np.arange(T), len(frames_THWC) - 1)]

    return Video(as_long, digest_json(["nearest", clip.digest, case.reference.digest]), case.name)
