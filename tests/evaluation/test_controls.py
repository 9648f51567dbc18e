import numpy as np

from worldtune.evaluation.case import held
from worldtune.evaluation.controls import frozen, nearest, thumbnails

from .clips import cases, moving_square


def test_frozen_is_the_first_frame_for_the_whole_length() -> None:
    (case,) = cases(1)
    still_THWC = frozen(case).read()
    assert still_THWC.shape == moving_square(0).shape
    assert (still_THWC == moving_square(0)[0]).all()


def test_nearest_is_the_training_clip_that_begins_most_like_the_case() -> None:
    (case,) = cases(1, first=3)
    training = [held(moving_square(seed, frames=7)) for seed in (0, 1)]
    alike_THWC = moving_square(3, noise=2, frames=7)
    training.append(held(alike_THWC))
    first_ND = np.stack([thumbnails(video.read()[:1])[0] for video in training])
    chosen = nearest(case, training, first_ND)
    shown_THWC = chosen.read()
    assert np.array_equal(shown_THWC[:7], alike_THWC)
    assert np.array_equal(shown_THWC[7:], np.repeat(alike_THWC[-1:], 4, 0)), "a shorter clip's last frame is held"
    other = nearest(case, training[:2], first_ND[:2])
    assert other.digest != chosen.digest
