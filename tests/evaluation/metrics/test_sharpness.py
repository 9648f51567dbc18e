import cv2
import numpy as np
import pytest

from worldtune.evaluation.metrics.sharpness import sharpness_ratio

from ..clips import features, moving_square


def test_blur_is_below_one_and_noise_above() -> None:
    real = moving_square(0)
    soft = np.stack([cv2.GaussianBlur(frame_HWC, (0, 0), 1.2) for frame_HWC in real])
    blurred = sharpness_ratio(features(soft), features(real))
    noisy = sharpness_ratio(features(moving_square(0, noise=20)), features(real))
    assert blurred is not None
    assert noisy is not None
    assert blurred < 0.3
    assert noisy > 1.5
    assert sharpness_ratio(features(real), features(real)) == pytest.approx(1)


def test_a_uniform_reference_has_no_sharpness_ratio() -> None:
    uniform = features(np.full((3, 16, 16, 3), 9, np.uint8))
    assert sharpness_ratio(uniform, uniform) is None
