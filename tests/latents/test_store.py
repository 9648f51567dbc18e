import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worldtune.errors import DataError
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
    """Killed while the tensor is being written: the key is not there, and is made again."""
    code = """if True:
        import os, sys, torch
        from pathlib import Path
        import worldtune.latents.store as module
        def cut(tensors, path, metadata):
            Path(path).write_bytes(b"half")
            os._exit(9)
        module.save_file = cut
        module.LatentStore(Path(sys.argv[1])).save({"frames": "abc"}, torch.zeros(3))
    """
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    store = LatentStore(tmp_path)
    assert not store.path({"frames": "abc"}).exists()
    assert torch.equal(load_tensor(store.save({"frames": "abc"}, torch.ones(3))), torch.ones(3))


def test_a_damaged_tensor_is_named(tmp_path: Path) -> None:
    path = LatentStore(tmp_path).save({"a": 1}, torch.ones(4))
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match=rf"cannot be read.*{path.name}.*Delete the file"):
        load_tensor(path)


@given(st.integers(0, 15), st.integers(1, 255))
def test_a_byte_that_is_another_is_seen(place: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = LatentStore(Path(folder)).save({"a": 1}, torch.ones(4))
        content = bytearray(path.read_bytes())
        content[place - 16] ^= change
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"its bytes are not those that were written.*Delete the file"):
            load_tensor(path)


def test_the_same_key_and_tensor_give_the_same_bytes(tmp_path: Path) -> None:
    contents = [LatentStore(tmp_path / n).save({"a": 1, "b": [2]}, torch.ones(2)).read_bytes() for n in ("x", "y")]
    assert contents[0] == contents[1]
