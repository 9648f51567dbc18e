from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from worldtune.latents.store import LatentStore, load_tensor

KEYS = st.dictionaries(st.text(max_size=2), st.one_of(st.text(max_size=2), st.integers()), max_size=3)


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    tensor = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).T
    path = store.save({"frames": "abc"}, tensor)
    assert path == store.path({"frames": "abc"})
    assert torch.equal(load_tensor(path), tensor)


@given(KEYS, KEYS)
def test_different_keys_have_different_places(one: dict[str, object], other: dict[str, object]) -> None:
    store = LatentStore(Path("store"))
    assert (store.path(one) == store.path(other)) == (one == other)
    assert store.path(one) == store.path(dict(reversed(one.items())))


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    with pytest.raises((SafetensorError, RuntimeError, ValueError, NotImplementedError)):
        store.save({"frames": "abc"}, torch.zeros(3, device="meta"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_same_key_and_tensor_give_the_same_bytes(tmp_path: Path) -> None:
    contents = [LatentStore(tmp_path / n).save({"a": 1, "b": [2]}, torch.ones(2)).read_bytes() for n in ("x", "y")]
    assert contents[0] == contents[1]
