"""Muon of the pocket world's training: singular values near one, and steps of Adam's size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from muon import Muon, matrices_and_rest, orthogonalize


@given(rows=st.integers(4, 40), columns=st.integers(4, 40), seed=st.integers(0, 99))
def test_singular_values_become_nearly_one(rows: int, columns: int, seed: int) -> None:
    g_OI = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    before, after = torch.linalg.svdvals(g_OI), torch.linalg.svdvals(orthogonalize(g_OI))
    large = before > 0.05 * before[0]  # five iterations do not reach the smallest
    assert after.max() < 1.3
    assert after[large].min() > 0.4


def test_singular_vectors_are_kept() -> None:
    g_OI = torch.randn(8, 20, generator=torch.Generator().manual_seed(0))
    u, _, v = torch.linalg.svd(g_OI, full_matrices=False)
    turned = u.T @ orthogonalize(g_OI) @ v.T
    assert (turned - turned.diag().diag()).abs().max() < 1e-4


def test_only_weights_that_mix_channels_are_orthogonalized() -> None:
    model = nn.ModuleList([nn.Conv2d(4, 8, 3), nn.Linear(8, 8), nn.Conv2d(3, 3, 1), nn.LayerNorm(8)])
    matrices, rest = matrices_and_rest(list(model.parameters()))
    assert [tuple(p.shape) for p in matrices] == [(8, 4, 3, 3), (8, 8)]
    assert len(matrices) + len(rest) == len(list(model.parameters()))


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (16, 4, 3, 3)])
def test_step_has_the_size_of_adams(shape: tuple[int, ...]) -> None:
    weight = nn.Parameter(torch.zeros(shape))
    weight.grad = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=1.0).step()
    assert 0.1 < weight.square().mean().sqrt() < 0.3
