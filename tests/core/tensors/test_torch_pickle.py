"""Tensors are read from torch.save files, and no small file can cost a reader much."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from support.pickles import put
from worldtune.core.tensors.pickle_parser import DamagedFileError
from worldtune.core.tensors.torch_pickle import check_backed_by_file, load_pickle

TENSORS = {"a": torch.arange(12.0).view(3, 4), "b": torch.linspace(0, 1, 5).bfloat16(), "c": torch.tensor(3)}
KINDS: dict[str, Any] = {
    "a mapping": TENSORS,
    "a module's": torch.nn.Linear(3, 4).state_dict(),
    "a parameter": torch.nn.Parameter(torch.ones(2)),
    "float8": OrderedDict(a=torch.zeros(3, dtype=torch.float8_e4m3fn)),
    "uint16": torch.ones(2, dtype=torch.uint16),
    "an optimizer's": {"state": {0: {"step": 1.0, "sum": torch.ones(2)}}, "groups": [{"lr": 0.1, "params": [0]}]},
    "with more": {"model": {**TENSORS, "a._extra_state": None, "b._extra_state": b"bytes"}},
}


def written(value: Any, **how: Any) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(value, file, **how)
    file.seek(0)
    return file


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_save_files_are_read(kind: str, zipped: bool, tmp_path: Path) -> None:
    if not zipped and kind in ("float8", "uint16"):
        pytest.skip("torch does not read these kinds in its old format")
    file = written(KINDS[kind], _use_new_zipfile_serialization=zipped)
    assert repr(load_pickle(file)) == repr(KINDS[kind])
    (tmp_path / "x.pt").write_bytes(file.getvalue())
    assert repr(load_pickle(file, tmp_path / "x.pt")) == repr(KINDS[kind])


def test_file_without_checksums_is_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        file = written(TENSORS)
    finally:
        torch.serialization.set_crc32_options(before)
    assert repr(load_pickle(file)) == repr(TENSORS)


def repacked(file: io.BytesIO, harm: str, pickled: bytes | None = None) -> io.BytesIO:
    """Return the zip again, with some damage or another pickle in it."""
    packing = zipfile.ZIP_DEFLATED if harm == "packed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(file) as before, zipfile.ZipFile(again := io.BytesIO(), "w", packing) as after:
        for member in before.infolist():
            content = before.read(member)
            after.writestr(member.filename, pickled if pickled and member.filename.endswith("data.pkl") else content)
            if harm == "twice":
                after.writestr(member.filename, content)
    return again


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("harm", "says"), [("packed", "is compressed"), ("twice", "or there twice")])
def test_unusual_zip_is_an_error(harm: str, says: str) -> None:
    with pytest.raises(DamagedFileError, match=says):
        load_pickle(repacked(written({"a": torch.zeros(1 << 16)}), harm))


def test_overlapping_members_are_an_error() -> None:
    """Every name in the directory points to the bytes of the largest member, so a few bytes make a tensor each."""
    content = bytearray(written({str(number): torch.zeros(1000) for number in range(3)}).getvalue())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        first, second = (archive.getinfo(f"archive/data/{number}") for number in (0, 1))
    entry = content.index(b"archive/data/1", archive.start_dir) - 46  # in the central directory
    content[entry + 42 : entry + 46] = first.header_offset.to_bytes(4, "little")
    assert second.header_offset != first.header_offset
    with pytest.raises(DamagedFileError):
        load_pickle(io.BytesIO(content))


HASHED = b"N\x85\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(60))
PICKLES = {
    "a key whose hash takes years": b"\x80\x02}" + HASHED + b"K\x01s.",
    "a key so deep that its hash ends the process": b"\x80\x02}N" + b"\x85" * 200_000 + b"K\x01s.",
    "a thousand gigabytes": b"\x80\x02cbuiltins\nbytearray\n\x8a\x06" + (10**12).to_bytes(6, "little") + b"\x85R.",
    "another name": b"\x80\x02cos\nsystem\n.",
    "no utf-8": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "an empty stack": b"\x80\x02R.",
    "a tensor of none": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN\x88N\x87R.",
    "a tensor of a text": b"\x80\x04ctorch\nTensor\n" + put("x") + b"\x85R.",
    "a storage of nothing": b"\x80\x02(Q.",
    "nothing": b"",
}


@pytest.mark.parametrize("what", PICKLES)
def test_expensive_pickle_is_a_one_line_error(what: str) -> None:
    for file in (repacked(written(TENSORS), "", PICKLES[what] or b"."), io.BytesIO(PICKLES[what])):
        with pytest.raises(DamagedFileError) as error:
            load_pickle(file)
        assert "\n" not in str(error.value)


def test_tensors_larger_than_the_file_are_an_error() -> None:
    check_backed_by_file([torch.zeros(1000), torch.zeros(1000)], 5000)  # tied weights share their bytes
    for tensor in (torch.zeros(1).expand(10**9), torch.eye(3).to_sparse(), torch.zeros(3, device="meta")):
        with pytest.raises(DamagedFileError):
            check_backed_by_file([tensor], 5000)


def test_file_without_a_pickle_is_a_one_line_error() -> None:
    for content in (b"", b"PK\x03\x04", b"PK\x03\x04" * 99, pickle.dumps(3), b"\x89PNG\r\n" * 99):
        with pytest.raises(DamagedFileError):
            load_pickle(io.BytesIO(content))


@pytest.mark.parametrize("member", ["data/0", "data/1", "byteorder", "version"])
def test_changed_byte_is_an_error(member: str) -> None:
    file = written(TENSORS)
    with zipfile.ZipFile(file) as archive:
        content = archive.read(f"archive/{member}")
    data = bytearray(file.getvalue())
    data[data.rindex(content, 0, data.index(b"PK\x01\x02"))] ^= 1
    with pytest.raises(DamagedFileError, match=f"'archive/{member}' does not match its checksum"):
        load_pickle(io.BytesIO(data))


@pytest.mark.parametrize("content", [b"", b"\0" * 44, b"\0" * 100])
def test_storage_of_wrong_length_is_an_error(content: bytes) -> None:
    """The checksums are right, as when someone swaps a tensor's bytes and writes new checksums."""
    with zipfile.ZipFile(written(TENSORS)) as before, zipfile.ZipFile(again := io.BytesIO(), "w") as after:
        for name in before.namelist():
            after.writestr(name, content if name.endswith("data/0") else before.read(name))
    with pytest.raises(DamagedFileError, match="the storage '0' has another length than the pickle says"):
        load_pickle(again)


@pytest.mark.parametrize("value", [torch.empty(0), torch.ones(3)[:2], torch.ones(3).untyped_storage()])
def test_storages_of_every_length_are_read(value: Any) -> None:
    tensors = {"a": value, "b": torch.ones(2, 2).T}
    assert torch.equal(load_pickle(written(tensors))["b"], tensors["b"])
