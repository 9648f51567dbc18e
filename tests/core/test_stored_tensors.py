"""StoredTensor's properties and checks against torch's."""

from pathlib import Path
from struct import pack

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor

from worldtune.core.stored_tensors import StoredTensor
from worldtune.core.tensors.finite import is_finite
from worldtune.core.tensors.read import parse_safetensors, read_safetensors

FLOATS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.float16: torch.int16,
          torch.bfloat16: torch.int16}  # fmt: skip
WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def stored(tensor: Tensor) -> StoredTensor:
    found, _ = parse_safetensors(save({"before": torch.ones(1, dtype=torch.uint8), "x": tensor}), "x", stored=True)
    assert isinstance(found["x"], StoredTensor)
    return found["x"]


def check(tensor: Tensor) -> None:
    own = stored(tensor)
    assert (own.shape, own.ndim, own.numel()) == (tuple(tensor.shape), tensor.ndim, tensor.numel())
    assert (own.dtype, own.is_floating_point()) == (str(tensor.dtype), tensor.is_floating_point())
    assert own.flatten().shape == tuple(tensor.flatten().shape)
    assert is_finite(own) == is_finite(tensor) == bool(tensor.isfinite().all())
    assert own.any() == bool(tensor.any())
    if tensor.ndim:
        assert len(own) == len(tensor)
    if tensor.numel() == 1:
        assert pack("<d", float(own)) == pack("<d", float(tensor)) or tensor.isnan().all()


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=3), st.sampled_from(list(FLOATS)))
def test_float_of_any_bits_matches_torch(bits: list[int], dtype: torch.dtype) -> None:
    size = 8 * dtype.itemsize
    signed = [(value % 2**size) - (2**size if value % 2**size >= 2 ** (size - 1) else 0) for value in bits]
    check(torch.tensor(signed, dtype=FLOATS[dtype]).view(dtype))


SPECIAL = (0.0, -0.0, 1.0, float("inf"), float("-inf"), float("nan"), 1e-40, -1e-40)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("value", SPECIAL)
def test_special_floats_match_torch(value: float, dtype: torch.dtype) -> None:
    check(torch.tensor(value, dtype=dtype))
    check(torch.tensor([[0.0, value, 0.0]], dtype=dtype))


@pytest.mark.parametrize("dtype", WHOLE)
@pytest.mark.parametrize("value", [0, 1, 100])
def test_integers_match_torch(value: int, dtype: torch.dtype) -> None:
    check(torch.tensor(value, dtype=dtype))
    check(torch.tensor([[0, value]], dtype=dtype))


@pytest.mark.parametrize("dtype", [*FLOATS, *WHOLE])
def test_empty_tensors(dtype: torch.dtype) -> None:
    check(torch.zeros(0, 3, dtype=dtype))


def test_file_without_tensors(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(save({}))
    assert read_safetensors(tmp_path / "x.safetensors", stored=True) == {}


def test_unknown_types_are_left_to_torch() -> None:
    content = save({"x": torch.ones(2).to(torch.float8_e5m2), "y": torch.ones(2)})
    found, metadata = parse_safetensors(content, "x", stored=True)
    assert all(isinstance(tensor, Tensor) for tensor in found.values())
    assert metadata == parse_safetensors(content, "x")[1]
