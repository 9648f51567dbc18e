import numpy as np
import pytest

from worldtune.evaluation.metrics.flow import flicker_ratio, flow_agreement, warp_error

from ..clips import features, moving_square
from ..grounds import panned, textured


def test_flow_finds_a_known_shift() -> None:
    panning = features(panned(textured(96, 128), [(0, 0), (3, 1)]))
    inner_HWC = panning.flow_tHWC[0, 16:-16, 16:-16]
    assert np.median(inner_HWC[..., 0]) == pytest.approx(-3, abs=0.3)
    assert np.median(inner_HWC[..., 1]) == pytest.approx(-1, abs=0.3)
    assert np.median(panning.back_tHWC[0, 16:-16, 16:-16, 0]) == pytest.approx(3, abs=0.3)


def test_flicker_raises_the_warp_error_and_motion_does_not() -> None:
    steady = panned(textured(96, 128), [(t, 0) for t in range(5)])
    rng = np.random.default_rng(0)
    flickering = np.clip(steady + rng.normal(0, 12, steady.shape), 0, 255).astype(np.uint8)
    assert warp_error(features(steady)) < 4
    assert warp_error(features(flickering)) > 2.5 * warp_error(features(steady))
    assert flicker_ratio(features(flickering), features(steady)) > 2.5
    assert flicker_ratio(features(steady), features(steady)) == 1


def test_a_still_video_has_zero_warp_error_and_a_ratio_of_one() -> None:
    still = features(np.repeat(textured(64, 64)[None], 4, 0))
    assert warp_error(still) == 0
    assert flicker_ratio(still, still) == 1


@pytest.mark.parametrize("seed", range(4))
def test_agreement_is_one_for_the_same_and_negative_for_reversed_motion(seed: int) -> None:
    real = moving_square(seed)
    assert flow_agreement(features(real), features(real)) == pytest.approx(1)
    frozen = features(np.repeat(real[:1], len(real), 0))
    assert flow_agreement(frozen, features(real)) == pytest.approx(0, abs=0.01)
    slow = flow_agreement(features(moving_square(seed, lag=0.6)), features(real))
    back = flow_agreement(features(real[::-1].copy()), features(real))
    assert slow is not None
    assert back is not None
    assert back < 0.1 < slow < 0.95
    assert flow_agreement(features(real), frozen) is None
