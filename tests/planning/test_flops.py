"""Counted operations against closed forms."""

import torch
import torch.nn.functional as F
from torch import nn

from worldtune.planning.flops import count_flops
from worldtune.planning.memory_tracker import without_data


def test_linear_layer_counts_two_operations_per_weight_and_row() -> None:
    linear, x = nn.Linear(6, 10, bias=False), torch.randn(7, 6, requires_grad=True)
    assert count_flops(lambda: linear(x)) == 2 * 7 * 6 * 10
    assert count_flops(lambda: linear(x).sum().backward()) == 3 * 2 * 7 * 6 * 10


def test_in_place_products_and_convolutions_count() -> None:
    sums, left, right = torch.zeros(7, 5), torch.randn(7, 6), torch.randn(6, 5)
    assert count_flops(lambda: sums.addmm_(left, right)) == 2 * 7 * 6 * 5
    conv, x = nn.Conv2d(3, 4, 5, padding=2), torch.randn(2, 3, 8, 9)
    assert count_flops(lambda: conv(x)) == 2 * (2 * 8 * 9) * 4 * (3 * 5 * 5)
    assert count_flops(lambda: x + x) == 0


def test_attention_counts_two_products_forward_and_five_backward() -> None:
    with without_data():
        q, k = torch.empty(2, 3, 50, 8, requires_grad=True), torch.empty(2, 3, 20, 8, requires_grad=True)
        once = 2 * 2 * 3 * 50 * 20 * 8
        assert count_flops(lambda: F.scaled_dot_product_attention(q, k, k)) == 2 * once
        assert count_flops(lambda: F.scaled_dot_product_attention(q, k, k).sum().backward()) == (2 + 5) * once
