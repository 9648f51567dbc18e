"""The path is the least-squares solution, and each source has the influence that its error allows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.dreams.idm.path import fuse_path

SEEDS = st.integers(0, 2**32 - 1)


@given(SEEDS)
def test_consistent_readings_are_returned(seed: int) -> None:
    path_TS = np.random.default_rng(seed).normal(size=(9, 3)).astype(np.float32)
    fused_TS = fuse_path(np.diff(path_TS, axis=0), path_TS, path_TS[0], 3.0)
    np.testing.assert_allclose(fused_TS, path_TS, atol=1e-5)


@given(SEEDS)
def test_path_equals_a_kalman_smoother(seed: int) -> None:
    """The oracle is the information form: (DᵀD/σ_d² + I/σ_a²) p = Dᵀd/σ_d² + a/σ_a²."""
    rng = np.random.default_rng(seed)
    d_I, a_T = rng.normal(size=(6, 1)), rng.normal(size=(7, 1))
    step_IT = np.diff(np.eye(7), axis=0)
    expected = np.linalg.solve(step_IT.T @ step_IT + np.eye(7) / 9, step_IT.T @ d_I + a_T / 9)
    found = fuse_path(d_I.astype(np.float32), a_T.astype(np.float32), None, 3.0)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_positions_correct_the_drift_of_displacements() -> None:
    true_TS = np.linspace(0, 1, 21, dtype=np.float32)[:, None]
    drifting_IS = np.diff(true_TS, axis=0) + np.float32(0.02)
    summed = np.concatenate([true_TS[:1], true_TS[:1] + drifting_IS.cumsum(0)])
    fused = fuse_path(drifting_IS, true_TS, true_TS[0], 3.0)
    assert abs(summed[-1] - 1) > 0.39
    assert abs(fused[-1] - 1) < 0.15
    assert fused[0] == pytest.approx(0, abs=1e-5), "the start is known"


def test_displacements_smooth_noisy_positions() -> None:
    rng = np.random.default_rng(0)
    true_TS = np.linspace(0, 1, 21, dtype=np.float32)[:, None]
    noisy = true_TS + rng.normal(0, 0.05, true_TS.shape).astype(np.float32)
    fused = fuse_path(np.diff(true_TS, axis=0), noisy, None, 3.0)
    assert np.abs(fused - true_TS).mean() < np.abs(noisy - true_TS).mean() / 2
