"""Sampling noise levels against values computed by hand and against diffusers."""

import numpy as np
import pytest
from diffusers import UniPCMultistepScheduler

from worldtune.diffusion.schedules import distilled_sigmas, karras_sigmas, shifted_linear_sigmas


def test_karras_levels_decrease_between_their_bounds() -> None:
    levels = karras_sigmas(36, 200.0, 0.01)
    assert len(levels) == 36
    assert levels[0] == pytest.approx(200 / 201, abs=1e-15)
    assert levels[-1] == pytest.approx(0.01 / 1.01, abs=1e-15)
    assert (np.diff(levels) < 0).all()


def test_middle_karras_level_by_hand() -> None:
    middle = ((200 ** (1 / 7) + 0.01 ** (1 / 7)) / 2) ** 7  # ρ = 7: the mean of the seventh roots
    assert karras_sigmas(3, 200.0, 0.01)[1] == pytest.approx(middle / (1 + middle), rel=1e-14)


@pytest.mark.parametrize("evaluations", [4, 12, 36])
def test_karras_levels_match_diffusers_for_predict_2_5(evaluations: int) -> None:
    theirs = UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0, sigma_min=0.01
    )
    theirs.set_timesteps(evaluations)
    assert np.array_equal(karras_sigmas(evaluations, 200.0, 0.01).astype(np.float32), theirs.sigmas[:-1].numpy())


def test_shifted_linear_levels_by_hand() -> None:
    u = np.array([0.999, 0.999 * 2 / 3, 0.999 / 3])
    assert shifted_linear_sigmas(3) == pytest.approx(5 * u / (1 + 4 * u), rel=1e-14)


def test_distilled_levels_match_the_dmd2_angles() -> None:
    """NVIDIA gives them as TrigFlow angles: π/2, atan 15, atan 5, atan 5/3, where tan(t) is EDM's σ."""
    edm = np.array([15, 5, 5 / 3])
    assert distilled_sigmas() == pytest.approx([1, *(edm / (1 + edm))], rel=1e-14)
