import numpy as np
import pytest

from worldtune.evaluation.metrics.flow import flicker_ratio, motion_agreement, warp_error

from .clips import film, moving_square
from .grounds import panned, textured


def test_flow_finds_a_known_shift() -> None:
    panning = film(panned(textured(96, 128), [(0, 0), (3, 1)]))
    inner_HWC = panning.flow_tHWC[0, 16:-16, 16:-16]
    assert np.median(inner_HWC[..., 0]) == pytest.approx(-3, abs=0.3)
    assert np.median(inner_HWC[..., 1]) == pytest.approx(-1, abs=0.3)
    assert np.median(panning.back_tHWC[0, 16:-16, 16:-16, 0]) == pytest.approx(3, abs=0.3)


def test_what_moves_is_followed_and_what_flickers_is_not() -> None:
    steady = panned(textured(96, 128), [(t, 0) for t in range(5)])
    draw = np.random.default_rng(0)
    flickers = np.clip(steady + draw.normal(0, 12, steady.shape), 0, 255).astype(np.uint8)
    assert warp_error(film(steady)) < 4
    assert warp_error(film(flickers)) > 2.5 * warp_error(film(steady))
    assert flicker_ratio(film(flickers), film(steady)) > 2.5
    assert flicker_ratio(film(steady), film(steady)) == 1


def test_a_still_video_has_no_warp_error_and_no_division_by_it() -> None:
    still = film(np.repeat(textured(64, 64)[None], 4, 0))
    assert warp_error(still) == 0
    assert flicker_ratio(still, still) == 1


@pytest.mark.parametrize("seed", range(4))
def test_agreement_tells_the_same_motion_from_none_and_from_the_way_back(seed: int) -> None:
    real = moving_square(seed)
    assert motion_agreement(film(real), film(real)) == pytest.approx(1)
    frozen = film(np.repeat(real[:1], len(real), 0))
    assert motion_agreement(frozen, film(real)) == pytest.approx(0, abs=0.01)
    slow = motion_agreement(film(moving_square(seed, lag=0.6)), film(real))
    back = motion_agreement(film(real[::-1].copy()), film(real))
    assert slow is not None
    assert back is not None
    assert back < 0.1 < slow < 0.95
    assert motion_agreement(film(real), frozen) is None
