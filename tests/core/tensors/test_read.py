"""The same tensors from every format, and a one-line error for damaged files."""

import json
import os
import random
import struct
import warnings
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import Tensor

from worldtune.core.tensors.read import check_unique_names, read_tensors
from worldtune.errors import UserError

TENSORS = {
    "net.a.weight": torch.arange(12.0).view(3, 4),
    "net.b.bias": torch.linspace(0, 1, 5).bfloat16(),
    "net.c": torch.tensor(3),
}


def save_dcp(folder: Path, tensors: dict[str, Tensor] = TENSORS) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(dict(tensors), checkpoint_id=folder, no_dist=True)
    return folder


def write(folder: Path, kind: str) -> Path:
    """Write the tensors in one of the formats."""
    path = folder / kind
    match kind:
        case "model.safetensors":
            save_file(TENSORS, path)
        case "sharded":
            path.mkdir()
            for number, (name, tensor) in enumerate(TENSORS.items()):
                save_file({name: tensor}, path / f"model-{number}.safetensors")
        case "model.pt":
            torch.save(TENSORS, path)
        case "old.pt":
            torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
        case "nested.pt":
            torch.save({"model": {**TENSORS, "net.q._extra_state": None}}, path)
        case "dcp":
            save_dcp(path)
        case "iteration":
            save_dcp(path / "model")
        case "run":
            save_dcp(path / "iter_000000200" / "model")
            (path / "latest_checkpoint.txt").write_text("iter_000000200\n")
    return path


KINDS = ("model.safetensors", "sharded", "model.pt", "nested.pt", "old.pt", "dcp", "iteration", "run")


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_tensors(tmp_path: Path, kind: str) -> None:
    found = read_tensors(write(tmp_path, kind))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def fault(path: Path) -> str:
    with pytest.raises(UserError) as error:
        read_tensors(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("kind", ["model.safetensors", "sharded", "model.pt", "dcp"])
@pytest.mark.parametrize("harm", ["cut", "empty", "swapped"])
def test_damaged_file_is_a_one_line_error(tmp_path: Path, kind: str, harm: str) -> None:
    path = write(tmp_path, kind)
    for file in [path] if path.is_file() else list(path.iterdir()):
        content = file.read_bytes()
        file.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "swapped": b"\x89PNG\r\n" * 99}[harm])
    assert "cannot be read" in fault(path)


def test_pickle_that_would_run_a_command_is_an_error(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"a": Bomb()}, tmp_path / "model.pt")
    assert "cannot be read" in fault(tmp_path / "model.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([1, 2], "not a mapping"),
        ({}, "not a mapping"),
        ({"a": 3}, "a is not a tensor"),
        ({1: torch.ones(1)}, "not a mapping"),
    ],
)
def test_pickle_without_named_tensors_is_an_error(tmp_path: Path, value: object, says: str) -> None:
    torch.save(value, tmp_path / "model.pt")
    assert says in fault(tmp_path / "model.pt")


def test_duplicate_tensor_name_is_an_error(tmp_path: Path) -> None:
    entry = json.dumps({"dtype": "F32", "shape": [1], "data_offsets": [0, 4]})
    header = f'{{"a": {entry}, "a": {entry}}}'.encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)
    assert "it has a twice" in fault(tmp_path / "model.safetensors")
    path = write(tmp_path, "sharded")
    save_file({"net.c": torch.zeros(1)}, path / "model-9.safetensors")
    assert "two files have net.c" in fault(path)


def test_header_of_sixty_thousand_names_is_fast(tmp_path: Path) -> None:
    """Quadratic time would take minutes."""
    entry = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    write_header(tmp_path / "model.safetensors", json.dumps({f"name {number}": entry for number in range(60_000)}))
    reader = get_context("fork").Process(target=check_unique_names, args=(tmp_path / "model.safetensors",))
    reader.start()
    reader.join(60)
    reader.kill()
    assert reader.exitcode == 0


def write_header(path: Path, header: str) -> None:
    content = header.encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content)


HEADERS = {
    "nested": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "a list": "[" * 100_000,
    "no object": "[]",
    "a shape of 2^60": '{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}',
    "a shape below zero": '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}',
    "a number of 5000 digits": '{"a":{"dtype":"F32","shape":[' + "9" * 5000 + '],"data_offsets":[0,4]}}',
    "offsets past the end": '{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}',
    "offsets from behind": '{"a":{"dtype":"F32","shape":[1],"data_offsets":[8,4]}}',
    "no such kind": '{"a":{"dtype":"F31","shape":[0],"data_offsets":[0,0]}}',
    "a kind that torch lacks": '{"a":{"dtype":"F6_E2M3","shape":[0],"data_offsets":[0,0]}}',
    "half a letter": '{"\\ud800":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
    "nothing": "",
}


@pytest.mark.parametrize("header", HEADERS)
def test_invalid_header_is_an_error(tmp_path: Path, header: str) -> None:
    write_header(tmp_path / "model.safetensors", HEADERS[header])
    assert "cannot be read" in fault(tmp_path / "model.safetensors")


@pytest.mark.parametrize("length", [(1 << 64) - 1, 1 << 40, 100_000_001, 9])
def test_header_longer_than_the_file_is_an_error(tmp_path: Path, length: int) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    assert "cut short" in fault(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "sharded/model.safetensors"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_path_that_is_not_a_regular_file_is_an_error(tmp_path: Path, name: str, make: Callable[[Path], None]) -> None:
    (tmp_path / "sharded").mkdir()
    make(tmp_path / name)
    fault(tmp_path / name.split("/")[0])


@pytest.mark.parametrize("kind", ["model.safetensors", "model.pt", "nested.pt", "old.pt"])
def test_mutated_file_is_an_error_or_no_larger(tmp_path: Path, kind: str) -> None:
    path, generator = write(tmp_path, kind), random.Random(0)
    whole = path.read_bytes()
    pickled = max(whole.find(b"data.pkl"), 0)
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(generator.choice([1, 1, 3])):
            content[pickled + generator.randrange(min(600, len(whole) - pickled))] = generator.randrange(256)
        path.write_bytes(content)
        try:
            found = read_tensors(path)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017  a mutated file may also be readable
        else:
            assert sum(tensor.numel() * tensor.element_size() for tensor in found.values()) < 10_000


@pytest.mark.parametrize("tensor", [torch.zeros(1).expand(10**9), torch.eye(3).to_sparse()])
def test_pickled_tensors_without_bytes_are_errors(tmp_path: Path, tensor: Tensor) -> None:
    torch.save({"a": tensor}, tmp_path / "model.pt")
    assert "cannot be read" in fault(tmp_path / "model.pt")


def test_latest_checkpoint_that_links_to_its_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "here").symlink_to(".")
    (tmp_path / "latest_checkpoint.txt").write_text("here")
    assert "this folder is a link" in fault(tmp_path)


@pytest.mark.parametrize("named", ["gone", "../elsewhere", "", "/etc", "a" * 300, "\0", "..", "\udcff"])
def test_latest_checkpoint_outside_the_folder_is_an_error(tmp_path: Path, named: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = write(tmp_path, "run")
    (path / "latest_checkpoint.txt").write_bytes(named.encode(errors="surrogateescape"))
    assert "which is missing" in fault(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [("gone.pt", "no such file"), ("notes.txt", "not a supported checkpoint"), ("nothing", "no checkpoint in this")],
)
def test_unsupported_checkpoint_is_an_error(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "nothing").mkdir()
    assert says in fault(tmp_path / name)


@pytest.mark.parametrize("inner", ["model", "iter_1"])
def test_linked_checkpoint_folder_is_an_error(tmp_path: Path, inner: str) -> None:
    """The folder's digest would not cover its tensors."""
    save_dcp(tmp_path / "elsewhere")
    outer = tmp_path / "run"
    outer.mkdir()
    (outer / inner).symlink_to(tmp_path / "elsewhere")
    if inner != "model":
        (outer / "latest_checkpoint.txt").write_text(inner)
    assert "this folder is a link" in fault(outer)
    (outer / inner).unlink()
    (tmp_path / "elsewhere").rename(outer / inner)
    assert read_tensors(outer).keys() == TENSORS.keys()
