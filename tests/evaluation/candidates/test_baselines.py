import numpy as np

from worldtune.evaluation.candidates.baselines import frozen_video, nearest_clip, thumbnails
from worldtune.evaluation.cases.case import video_from_frames

from ..clips import cases, moving_square


def test_frozen_video_repeats_the_first_frame() -> None:
    (case,) = cases(1)
    still_THWC = frozen_video(case).read()
    assert still_THWC.shape == moving_square(0).shape
    assert (still_THWC == moving_square(0)[0]).all()


def test_nearest_clip_has_the_most_similar_first_frame() -> None:
    (case,) = cases(1, first=3)
    training = [video_from_frames(moving_square(seed, frames=7)) for seed in (0, 1)]
    alike_THWC = moving_square(3, noise=2, frames=7)
    training.append(video_from_frames(alike_THWC))
    first_ND = np.stack([thumbnails(video.read()[:1])[0] for video in training])
    chosen = nearest_clip(case, training, first_ND)
    shown_THWC = chosen.read()
    assert np.array_equal(shown_THWC[:7], alike_THWC)
    assert np.array_equal(shown_THWC[7:], np.repeat(alike_THWC[-1:], 4, 0)), "a shorter clip's last frame is held"
    other = nearest_clip(case, training[:2], first_ND[:2])
    assert other.digest != chosen.digest
