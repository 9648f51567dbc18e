"""NaN and infinity are found anywhere, and other values count as finite."""

import pytest
import torch

from worldtune.core.tensors.finite import find_non_finite, is_finite

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("place", [0, 17, 99])
def test_one_non_finite_value_is_found(dtype: torch.dtype, place: int) -> None:
    sound = torch.linspace(-1, 1, 100).to(dtype)
    assert is_finite(sound)
    changed = sound.float()
    changed[place] = float("nan")
    assert not is_finite(changed.to(dtype))


def test_cancelling_infinities_are_found() -> None:
    assert not is_finite(torch.tensor([float("inf"), 1.0, float("-inf")]))
    assert not is_finite(torch.tensor([[float("inf")]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_overflowing_sum_of_finite_values_is_finite(dtype: torch.dtype) -> None:
    assert is_finite(torch.full((64, 64), torch.finfo(dtype).max, dtype=dtype))


def test_integers_and_meta_tensors_are_finite() -> None:
    assert is_finite(torch.tensor([1, 2]))
    assert is_finite(torch.empty(0))
    assert is_finite(torch.empty(3, device="meta"))


def test_non_finite_tensors_are_named() -> None:
    tensors = {"a": torch.ones(2), "b": torch.tensor([1.0, float("nan")]), "c": torch.tensor(float("inf"))}
    assert list(find_non_finite(tensors)) == ["b", "c"]
