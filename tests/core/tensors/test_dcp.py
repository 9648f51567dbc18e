"""Checkpoint folders are data: only tensors are read, no code runs, and our own read back exactly."""

import os
import pickle
import random
import shutil
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor
from torch.multiprocessing import start_processes

from support.pickles import STOP, named, put
from worldtune.core.tensors.dcp import DIGEST_FILE, load_tensors, read_all, save_tensors
from worldtune.errors import UserError

TENSORS = {"a": torch.arange(6.0).view(2, 3), "net.b": torch.ones(4, dtype=torch.bfloat16), "step": torch.tensor(7)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder written by torch, with tensors of several types and an entry that is not a tensor."""
    state: dict[str, Any] = {
        "a": TENSORS["a"], "net": {"b": TENSORS["net.b"]}, "step": TENSORS["step"], "name": "a string",
        "empty": torch.zeros(0, 4),
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=tmp_path / "saved", no_dist=True)
    return tmp_path / "saved"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    (tmp_path / "ours").mkdir()
    save_tensors(tmp_path / "ours", TENSORS)
    return tmp_path / "ours"


def like(tensors: dict[str, Tensor] = TENSORS) -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}


def fault(folder: Path, into: dict[str, Tensor] | None = None, *, require_digests: bool = False) -> str:
    with pytest.raises(UserError) as error:
        load_tensors(folder, into or like(), require_digests=require_digests)
    assert "\n" not in str(error.value)
    return str(error.value)


def is_same(found: dict[str, Tensor], expected: dict[str, Tensor] = TENSORS) -> bool:
    return found.keys() >= expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_tensors_read_back_exactly(saved: Path) -> None:
    load_tensors(saved, into := like())
    assert is_same(into)
    assert is_same(found := read_all(saved))
    assert found["empty"].shape == (0, 4)
    assert "name" not in found


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [("c", (2,), "c is absent"), ("a", (3, 2), "a is (2, 3), not (3, 2)"), ("name", (1,), "not a tensor")],
)
def test_mismatched_tensor_is_named(saved: Path, name: str, shape: tuple[int, ...], says: str) -> None:
    assert says in fault(saved, {name: torch.zeros(shape)})


def test_stock_torch_reads_ours(ours: Path) -> None:
    into = like()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(into, checkpoint_id=ours, no_dist=True)
    assert is_same(into)


def test_sha256sum_reads_our_digests(ours: Path) -> None:
    done = subprocess.run(["sha256sum", "--strict", "-c", DIGEST_FILE], cwd=ours, capture_output=True, check=False)
    assert done.returncode == 0
    assert sorted(done.stdout.decode().split()) == [".metadata:", "OK", "OK", "__0_0.distcp:"]


def test_every_flipped_bit_is_detected(ours: Path) -> None:
    generator = random.Random(0)
    for _ in range(60):
        path = generator.choice(sorted(ours.iterdir()))
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        text = fault(ours, require_digests=True)
        named = sorted(its.name for its in ours.iterdir()) if path.name == DIGEST_FILE else [path.name]
        assert any(name in text for name in named)
        assert "remove it to use the previous one" in text
        path.write_bytes(whole)
    load_tensors(ours, into := like(), require_digests=True)
    assert is_same(into)


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", DIGEST_FILE])
@pytest.mark.parametrize("harm", ["gone", "empty", "cut", "longer", "a folder"])
def test_missing_or_resized_file_is_named(ours: Path, name: str, harm: str) -> None:
    whole = (ours / name).read_bytes()
    (ours / name).unlink()
    match harm:
        case "empty":
            (ours / name).touch()
        case "cut":
            (ours / name).write_bytes(whole[:-1])
        case "longer":
            (ours / name).write_bytes(whole + b"\n")
        case "a folder":
            (ours / name).mkdir()
    assert name in fault(ours, require_digests=True)


def test_digests_must_cover_every_file_that_is_read(ours: Path) -> None:
    lines = (ours / DIGEST_FILE).read_text().splitlines(keepends=True)
    for line in lines:
        (ours / DIGEST_FILE).write_text("".join(other for other in lines if other != line))
        assert line.split()[1] in fault(ours, require_digests=True)


def test_existing_digests_are_always_checked(ours: Path) -> None:
    path = ours / "__0_0.distcp"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(UserError, match="__0_0"):
        read_all(ours)
    (ours / DIGEST_FILE).unlink()
    assert DIGEST_FILE in fault(ours, require_digests=True)


def write_shares(rank: int, folder: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}.store", rank=rank, world_size=3)
    whole = distribute_tensor(torch.arange(8.0).view(4, 2), init_device_mesh("cpu", (3,)), [Shard(0)])
    dcp.save({"whole": whole}, checkpoint_id=folder)
    dist.destroy_process_group()


def test_checkpoint_of_several_processes_is_assembled(tmp_path: Path) -> None:
    """Three processes share four rows; the last has none."""
    start_processes(write_shares, (tmp_path / "shares",), nprocs=3, start_method="fork")
    assert len(list((tmp_path / "shares").glob("*.distcp"))) >= 2
    assert torch.equal(read_all(tmp_path / "shares")["whole"], torch.arange(8.0).view(4, 2))


def change_index(folder: Path, change: Callable[[Any], None]) -> None:
    index = pickle.loads((folder / ".metadata").read_bytes())
    change(index)
    (folder / ".metadata").write_bytes(pickle.dumps(index))


@pytest.mark.parametrize("place", ["../outside", "/etc/passwd", "", "..", "a\0b"])
def test_index_with_outside_paths_is_an_error(saved: Path, place: str) -> None:
    change_index(saved, lambda index: [setattr(each, "relative_path", place) for each in index.storage_data.values()])
    assert "names a file outside its folder" in fault(saved)


def chunk_of(index: Any) -> Any:
    return index.state_dict_metadata["a"].chunks[0]


def place_of(index: Any, name: str = "a") -> Any:
    return next(place for key, place in index.storage_data.items() if key.fqn == name)


def twice(index: Any) -> None:
    index.state_dict_metadata["a"].chunks *= 2


def shared(index: Any) -> None:
    other = place_of(index, "net.b")
    other.offset, other.length = place_of(index).offset, place_of(index).length


def huge(index: Any) -> None:
    index.state_dict_metadata["a"].size = chunk_of(index).sizes = torch.Size((1 << 30, 1 << 30))


def long(index: Any) -> None:
    index.state_dict_metadata["a"].size = torch.Size((1,) * 65)


NONSENSE: dict[str, tuple[Callable[[Any], None], str]] = {
    "too large": (huge, "larger than its bytes"),
    "a hole": (lambda index: setattr(chunk_of(index), "sizes", torch.Size((1, 3))), "overlap or are incomplete"),
    "outside": (lambda index: setattr(chunk_of(index), "offsets", torch.Size((1, 0))), "overlap or are incomplete"),
    "twice": (twice, "overlap or are incomplete"),
    "no such file": (lambda index: setattr(place_of(index), "relative_path", "gone"), "gone: No such file"),
    "below zero": (lambda index: setattr(place_of(index), "offset", -1), "damaged"),
    "past the end": (lambda index: setattr(place_of(index), "length", 1 << 60), "outside __0_0.distcp"),
    "larger than numbers": (lambda index: setattr(place_of(index), "length", 10**400), "damaged"),
    "no number": (lambda index: setattr(place_of(index), "length", "9"), "damaged"),
    "another tensor's bytes": (shared, "overlaps another part"),
    "another kind": (
        lambda index: setattr(index.state_dict_metadata["a"].properties, "dtype", torch.int32), "shape or type"
    ),
    "a packed kind": (
        lambda index: setattr(index.state_dict_metadata["a"].properties, "dtype", torch.quint4x2), "type quint4x2"
    ),
    "too many dimensions": (long, "damaged"),
    "packed": (lambda index: setattr(place_of(index), "transform_descriptors", ["zstd"]), "is packed"),
    "no place": (lambda index: index.storage_data.clear(), "damaged"),
}  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_inconsistent_index_is_an_error(saved: Path, nonsense: str) -> None:
    change, says = NONSENSE[nonsense]
    change_index(saved, change)
    text = fault(saved, {"a": torch.zeros(2, 3)}) if nonsense != "too large" else fault_of_all(saved)
    assert text.startswith("the checkpoint cannot be read: ")
    assert says in text


def fault_of_all(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        read_all(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_index_cannot_set_attributes_of_classes(saved: Path) -> None:
    """A pickle's BUILD with a slot state would be setattr on a class that the unpickler hands out."""
    kind = type(saved)
    before = kind.exists
    harm = b"\x80\x04" + named("pathlib", "PosixPath") + b"N}" + put("exists") + named("torch", "Size") + b"s\x86b0"
    (saved / ".metadata").write_bytes(harm + (saved / ".metadata").read_bytes().removeprefix(b"\x80\x04"))
    assert "cannot be read" in fault(saved)
    assert kind.exists is before
    assert Path("/no/such/file").exists() is False


@pytest.mark.parametrize("name", ["torch load", "torch hub", "builtins eval", "os Size", "posix system"])
def test_other_names_in_the_index_are_errors(saved: Path, name: str) -> None:
    module, attribute = name.split()
    (saved / ".metadata").write_bytes(b"\x80\x04" + named(module, attribute) + STOP)
    assert f"the pickle has the disallowed name '{module}.{attribute}'" in fault(saved)


@pytest.mark.parametrize("harm", ["no index", "cut index", "another pickle", "cut tensors", "no tensors"])
def test_damaged_folder_is_a_one_line_error(saved: Path, harm: str) -> None:
    index, data = saved / ".metadata", next(saved.glob("*.distcp"))
    match harm:
        case "no index":
            index.unlink()
        case "cut index":
            index.write_bytes(index.read_bytes()[:50])
        case "another pickle":
            index.write_bytes(pickle.dumps({"a": 1}))
        case "cut tensors":
            data.write_bytes(data.read_bytes()[:99])
        case "no tensors":
            data.unlink()
    assert fault(saved).startswith("the checkpoint cannot be read: ")


def test_mutated_foreign_checkpoint_is_a_one_line_error(saved: Path, tmp_path: Path) -> None:
    """Without digests a flipped bit of a tensor is not detected; all other damage is a one-line error."""
    generator = random.Random(1)
    for number in range(60):
        folder = shutil.copytree(saved, tmp_path / str(number))
        path = generator.choice(sorted(folder.iterdir()))
        content = bytearray(path.read_bytes())
        for _ in range(generator.choice([1, 1, 4])):
            content[generator.randrange(len(content))] = generator.randrange(256)
        path.write_bytes(content)
        try:
            found = read_all(folder)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017  a mutated file may also be readable
        else:
            assert sum(tensor.nbytes for tensor in found.values()) < 1000


def test_pipe_in_place_of_a_file_is_an_error(saved: Path) -> None:
    path = next(saved.glob("*.distcp"))
    path.unlink()
    os.mkfifo(path)
    assert f"{path.name} is not a regular file" in fault(saved)
