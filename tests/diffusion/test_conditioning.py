import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worldtune.diffusion.conditioning import MODES, apply_conditioning, conditioning_mask, frame_sigmas

KNOWN = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0]])


def test_first_k_frames_are_known() -> None:
    assert torch.equal(conditioning_mask(torch.tensor([0, 1, 2]), 3), KNOWN)
    assert MODES == {0: "text2world", 1: "image2world", 2: "video2world"}


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(1, 6))
def test_known_frames_are_the_first_k_or_all(k: list[int], frames: int) -> None:
    cond_mask_BT = conditioning_mask(torch.tensor(k), frames)
    assert cond_mask_BT.dtype == torch.float32
    assert cond_mask_BT.sum(1).tolist() == [min(count, frames) for count in k]
    assert (cond_mask_BT.diff(dim=1) <= 0).all()


def test_conditioning_replaces_only_known_frames() -> None:
    x_BCTHW, z_BCTHW = torch.randn(2, 3, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    given_BCTHW = apply_conditioning(x_BCTHW, z_BCTHW, KNOWN)
    for clip, known in enumerate((0, 1, 2)):
        assert torch.equal(given_BCTHW[clip, :, :known], z_BCTHW[clip, :, :known])
        assert torch.equal(given_BCTHW[clip, :, known:], x_BCTHW[clip, :, known:])


def test_known_frames_get_the_conditional_noise_level() -> None:
    sigma_BT = frame_sigmas(torch.tensor([0.9, 0.5, 0.3]), KNOWN, 1e-4)
    assert sigma_BT.flatten().tolist() == pytest.approx([0.9, 0.9, 0.9, 1e-4, 0.5, 0.5, 1e-4, 1e-4, 0.3])


def test_without_conditional_level_all_frames_get_one_level() -> None:
    sigma_BT = frame_sigmas(torch.tensor([0.9, 0.5, 0.3]), KNOWN, None)
    assert torch.equal(sigma_BT, torch.tensor([0.9, 0.5, 0.3])[:, None].expand(3, 3))
