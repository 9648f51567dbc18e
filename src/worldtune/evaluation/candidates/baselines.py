"""Baselines without a model that every adapter must beat: the frozen first frame and the nearest training clip.

Shape letters: N clips, T frames, H height, W width, C channels, D values of a thumbnail.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from worldtune.core.files import digest_json
from worldtune.data.video.decode import fit_frame
from worldtune.evaluation.cases.case import Case, Frames, Video

THUMBNAIL_SIDE = 16  # pixels of a thumbnail's side


def frozen_video(case: Case) -> Video:
    """Return the first frame of the reference, held for its whole length: (T, H, W, C)."""

    def still() -> Frames:
        reference_THWC = case.reference.read()
        return np.broadcast_to(reference_THWC[:1], reference_THWC.shape)

    return Video(still, digest_json(["frozen", case.reference.digest]), case.name)


def thumbnails(frames_THWC: Frames) -> npt.NDArray[np.float32]:
    """Return each frame reduced to 16×16 pixels, flat: (T, D), in levels."""
    small = [
        cv2.resize(frame_HWC, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
        for frame_HWC in frames_THWC
    ]
    return np.stack(small).reshape(len(small), -1).astype(np.float32)


def nearest_clip(case: Case, training: Sequence[Video], first_ND: npt.NDArray[np.float32]) -> Video:
    """Return the training clip whose first frame is most like the case's. `first_ND` are thumbnails of first frames.

    A longer clip is cut to the length of the reference; the last frame of a shorter clip is repeated.
    """
    target_D = thumbnails(case.reference.read()[:1])[0]
    clip = training[int(np.square(first_ND - target_D).sum(1).argmin())]

    def fit_to_reference() -> Frames:
        T, H, W = case.reference.read().shape[:3]
        frames_THWC = clip.read()
        fitted_THWC = np.stack([fit_frame(frame_HWC, H, W, "stretch") for frame_HWC in frames_THWC])
        return fitted_THWC[np.minimum(np.arange(T), len(frames_THWC) - 1)]

    return Video(fit_to_reference, digest_json(["nearest", clip.digest, case.reference.digest]), case.name)
