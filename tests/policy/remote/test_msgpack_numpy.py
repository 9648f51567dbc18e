"""The wire form, against bytes written by hand in msgpack's specification and against msgpack itself."""

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from worldtune.policy.remote.msgpack_numpy import pack, unpack

DTYPES = st.sampled_from(["<f4", "<f8", "|u1", "<i8", "|b1", ">f4"])


def test_bytes_of_an_array() -> None:
    """fixmap of 4; bin 8 keys; true; bin 8 data; fixstr dtype; fixarray shape (github.com/msgpack/msgpack, spec.md)."""
    expected = b"\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x04\x00\x00\x80?\xc4\x05dtype\xa3<f4\xc4\x05shape\x91\x01"
    assert pack(np.array([1], np.float32)) == expected
    assert np.array_equal(unpack(expected), np.array([1], np.float32))


def test_bytes_of_a_scalar() -> None:
    expected = b"\x83\xc4\x0d__npgeneric__\xc3\xc4\x04data\x07\xc4\x05dtype\xa3<i8"
    assert pack(np.int64(7)) == expected
    assert unpack(expected) == 7
    assert type(unpack(expected)) is np.int64


@given(DTYPES.flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))))
def test_arrays_are_received_unchanged(array: np.ndarray) -> None:
    found = unpack(pack({"a": {"b": array}, "text": "x", "list": [1, None]}))
    assert found["a"]["b"].dtype == array.dtype
    assert found["a"]["b"].shape == array.shape
    assert found["a"]["b"].tobytes() == array.tobytes()
    assert (found["text"], found["list"]) == ("x", [1, None])


@pytest.mark.parametrize("value", [np.array([object()]), np.zeros(2, complex), np.zeros(1, [("a", "f4")]), {1, 2}])
def test_values_that_the_form_does_not_have_are_not_sent(value: object) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        pack(value)


@pytest.mark.parametrize(
    "change",
    [
        {b"dtype": "|O", b"shape": [2]},
        {b"dtype": "<c8", b"shape": [2]},
        {b"dtype": "<f4,<f4", b"shape": [2]},
        {b"dtype": "nonsense"},
        {b"shape": [3]},
        {b"shape": [-1, -4]},
        {b"data": b"12"},
        {b"data": 5},
    ],
)
def test_damaged_arrays_are_not_received(change: dict[bytes, object]) -> None:
    message = {b"__ndarray__": True, b"data": bytes(16), b"dtype": "<f4", b"shape": [4]} | change
    with pytest.raises(ValueError, match="not a message of openpi's form"):
        unpack(msgpack.packb(message))


@pytest.mark.parametrize("message", [b"", b"\xc1", b"\x84\xc4", b"\x81\xc4\x0b__ndarray__\xc3"])
def test_damaged_messages_are_not_received(message: bytes) -> None:
    with pytest.raises(ValueError, match="not a message of openpi's form"):
        unpack(message)
