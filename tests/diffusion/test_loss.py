import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from worldtune.diffusion.loss import squared_error_per_clip


@given(st.integers(0, 2**31), st.integers(0, 3))
def test_against_float64_element_by_element(seed: int, known: int) -> None:
    rng = np.random.default_rng(seed)
    v, target = rng.normal(size=(2, 2, 3, 3, 2, 4))
    cond_mask_BT = np.zeros((2, 3))
    cond_mask_BT[1, :known] = 1
    total = [0.0, 0.0]
    for b, c, t, h, w in np.ndindex(*v.shape):
        if not cond_mask_BT[b, t]:
            total[b] += (v[b, c, t, h, w] - target[b, c, t, h, w]) ** 2
    expected = [value / (3 * 3 * 2 * 4) for value in total]
    loss_B = squared_error_per_clip(*(torch.from_numpy(a).float() for a in (v, target, cond_mask_BT)))
    assert np.allclose(loss_B, expected, rtol=1e-5)


def test_known_frames_have_no_error_but_count_in_the_mean() -> None:
    v, target = torch.ones(1, 1, 2, 1, 1), torch.zeros(1, 1, 2, 1, 1)
    assert squared_error_per_clip(v, target, torch.tensor([[1.0, 0.0]])).item() == 0.5
    assert squared_error_per_clip(v, target, torch.ones(1, 2)).item() == 0
