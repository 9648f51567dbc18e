import random
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.warm import run_warm, start_warm
from worldtune.errors import DataError
from worldtune.latents.store import MAX_PARTS, SCHEMA, LatentStore, _open_shard, load_tensor

KEYS = st.dictionaries(st.text(max_size=2), st.one_of(st.text(max_size=2), st.integers()), max_size=3)


def test_saved_tensor_reads_back(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    tensor = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).T
    entry = store.save(tensor, {"frames": "abc"})
    assert entry == store.find({"frames": "abc"}) == LatentStore(tmp_path).find({"frames": "abc"})
    assert torch.equal(load_tensor(entry), tensor)
    assert store.find({"frames": "abcd"}) is None


@given(KEYS, KEYS)
def test_tensor_is_found_only_by_its_key(one: dict[str, object], other: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = LatentStore(Path(folder))
        entry = store.save(torch.ones(1), one)
        assert (store.find(other) == entry) == (one == other)
        assert store.find(dict(reversed(one.items()))) == entry


def test_killed_write_leaves_no_entry(tmp_path: Path) -> None:
    """A process is killed while it writes a shard, or the index part that names it: the key is not found."""
    code = """if True:
        import os, sys, torch
        from pathlib import Path
        import worldtune.latents.store as module
        def cut(table, path):
            Path(path).write_bytes(b"half")
            os._exit(9)
        module.pq.write_table = cut
        module.LatentStore(Path(sys.argv[1])).save(torch.zeros(3), {"frames": "abc"})
    """
    assert run_warm(code, tmp_path).returncode == 9
    store = LatentStore(tmp_path)
    assert store.find({"frames": "abc"}) is None
    assert torch.equal(load_tensor(store.save(torch.ones(3), {"frames": "abc"})), torch.ones(3))


def test_tensors_put_before_an_error_are_kept(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)

    def fail() -> None:
        with store.writing():
            store.put(torch.ones(2), {"a": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    kept = LatentStore(tmp_path).find({"a": 1})
    assert kept is not None
    assert torch.equal(load_tensor(kept), torch.ones(2))


def test_many_tensors_share_a_shard_and_a_tensor_has_many_keys(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    with store.writing():
        for number in range(5):
            store.put(torch.full((2,), float(number)), {"frames": number}, {"clip": number})
        store.alias({"frames": 3}, {"clip": "again"})
        assert store.contains({"clip": "again"})
        assert store.find({"clip": 3}) is None  # not before it is written
    assert len(list((tmp_path / "shards").iterdir())) == len(list((tmp_path / "index").iterdir())) == 1
    again = LatentStore(tmp_path)
    for number in range(5):
        entry = again.find({"clip": number})
        assert entry is not None
        assert entry == again.find({"frames": number})
        assert load_tensor(entry).tolist() == [number, number]
    assert again.find({"clip": "again"}) == again.find({"frames": 3})


def test_deleted_shard_is_not_found(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    store.save(torch.ones(2), {"a": 1}).shard.unlink()
    assert store.find({"a": 1}) is None
    assert LatentStore(tmp_path).find({"a": 1}) is None


def test_damaged_index_part_is_named(tmp_path: Path) -> None:
    LatentStore(tmp_path).save(torch.ones(2), {"a": 1})
    (part,) = (tmp_path / "index").iterdir()
    whole = pq.read_table(part)
    harms = (
        lambda: part.write_bytes(part.read_bytes()[:-9]),
        lambda: pq.write_table(whole.drop_columns(["digest"]), part),
        lambda: part.write_bytes(b""),
    )
    for harm in harms:
        harm()
        with pytest.raises(DataError, match=rf"index cannot be read.*{part.name}.*Delete the file"):
            LatentStore(tmp_path)


def test_many_small_parts_are_joined(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    early = LatentStore(tmp_path)
    for number in range(MAX_PARTS + 3):
        store.save(torch.full((1,), float(number)), {"n": number})
    assert sum(1 for _ in (tmp_path / "index").glob("[!.]*.parquet")) <= 4
    early.refresh()
    for each in (store, early, LatentStore(tmp_path)):
        found = [each.find({"n": number}) for number in range(MAX_PARTS + 3)]
        assert [load_tensor(entry).item() for entry in found if entry] == list(range(MAX_PARTS + 3))


WRITER = """if True:
    import sys, torch
    from pathlib import Path
    from worldtune.latents.store import LatentStore
    store = LatentStore(Path(sys.argv[1]))
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 40):
        store.save(torch.full((1,), float(number)), {"n": number})
"""


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    starts = (0, 20, 40)  # another process writes half of the same tensors
    writers = [start_warm(WRITER, tmp_path, str(start)) for start in starts]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    store = LatentStore(tmp_path)
    assert [load_tensor(entry).item() for n in range(80) if (entry := store.find({"n": n}))] == list(range(80))


def test_damaged_tensor_is_named(tmp_path: Path) -> None:
    entry = LatentStore(tmp_path).save(torch.ones(4), {"a": 1})
    entry.shard.write_bytes(entry.shard.read_bytes()[:-3])
    with pytest.raises(DataError, match=rf"cannot be read.*{entry.shard.name}.*Delete the file"):
        load_tensor(entry)


@given(st.integers(0, 15), st.integers(1, 255))
def test_changed_byte_is_detected(place: int, change: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        entry = LatentStore(Path(folder)).save(torch.ones(4), {"a": 1})
        content = bytearray(entry.shard.read_bytes())
        content[place - 16] ^= change
        entry.shard.write_bytes(content)
        with pytest.raises(DataError, match=r"its bytes have changed.*Delete the file"):
            load_tensor(entry)


@pytest.mark.parametrize(("before", "after"), [("[2,3]", "[3,2]"), ('"F32"', '"I32"'), ('"F32"', '"U32"')])
def test_changed_shape_or_type_is_detected(tmp_path: Path, before: str, after: str) -> None:
    """The tensor's bytes are unchanged."""
    entry = LatentStore(tmp_path).save(torch.ones(2, 3), {"a": 1})
    content = entry.shard.read_bytes()
    assert content.count(before.encode()) == 1
    entry.shard.write_bytes(content.replace(before.encode(), after.encode()))
    with pytest.raises(DataError, match="Delete the file"):
        load_tensor(entry)


@pytest.mark.parametrize("change", [{"shard": "../x.safetensors"}, {"name": "other"}, {"key": "other"}, {"digest": ""}])
def test_changed_index_part_is_named(tmp_path: Path, change: dict[str, str]) -> None:
    LatentStore(tmp_path).save(torch.ones(2), {"a": 1})
    (part,) = (tmp_path / "index").iterdir()
    pq.write_table(pa.Table.from_pylist([row | change for row in pq.read_table(part).to_pylist()], SCHEMA), part)
    with pytest.raises(DataError, match=rf"its content has changed.*{part.name}.*Delete the file"):
        LatentStore(tmp_path)


def test_mutated_store_gives_the_same_tensors_or_an_error(tmp_path: Path) -> None:
    generator, store = random.Random(0), LatentStore(tmp_path)
    tensors = [torch.full((2, 3), float(number)) for number in range(3)]
    with store.writing():
        for number, tensor in enumerate(tensors):
            store.put(tensor, {"n": number}, {"alias": number})
    for _ in range(60):
        path = generator.choice(sorted(tmp_path.glob("*/*.*")))
        whole = path.read_bytes()
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.unlink()  # an open shard is not changed
        path.write_bytes(content)
        _open_shard.cache_clear()
        try:
            again = LatentStore(tmp_path)
            found = [load_tensor(entry) for n in range(3) if (entry := again.find({"n": n}))]
            assert all(torch.equal(tensor, own) for tensor, own in zip(found, tensors, strict=True))
            text = path.name
        except DataError as error:  # it may be harmless, too
            text = str(error)
        assert path.name in text
        assert "\n" not in text
        path.write_bytes(whole)


def test_same_keys_and_tensors_give_the_same_files(tmp_path: Path) -> None:
    for name in ("x", "y"):
        LatentStore(tmp_path / name).save(torch.ones(2), {"a": 1, "b": [2]})
    one, other = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("x", "y")
    )
    assert one == other


def test_rewritten_shard_is_found(tmp_path: Path) -> None:
    """A process rewrites the same files, and another writes a shard with other content."""
    key, tensor = {"a": 1}, torch.ones(2)
    mine = LatentStore(tmp_path)
    mine.save(tensor, key).shard.unlink()
    assert mine.find(key) is None
    LatentStore(tmp_path).save(tensor, key)
    mine.refresh()
    found = mine.find(key)
    assert found is not None
    for number in range(8):
        found.shard.unlink()
        with (other := LatentStore(tmp_path)).writing():
            other.put(tensor, key)
            other.put(torch.full((1,), float(number)), {"b": number})
        found = LatentStore(tmp_path).find(key)
        assert found is not None
        assert torch.equal(load_tensor(found), tensor)


def test_joining_parts_keeps_existing_entries(tmp_path: Path) -> None:
    key = {"a": 1}
    LatentStore(tmp_path).save(torch.ones(2), key).shard.unlink()
    store = LatentStore(tmp_path)
    with store.writing():
        store.put(torch.ones(2), key)
        store.put(torch.zeros(3), {"b": 0})
    for number in range(MAX_PARTS):
        store.save(torch.full((1,), float(number)), {"c": number})
    assert len(list((tmp_path / "index").glob("*.parquet"))) < MAX_PARTS
    kept = LatentStore(tmp_path).find(key)
    assert kept is not None
    assert torch.equal(load_tensor(kept), torch.ones(2))
