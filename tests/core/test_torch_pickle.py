"""Files of torch.save give their tensors, and no small one costs a reader much."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from support.pickles import put
from worldtune.core.inert_pickle import DamagedError
from worldtune.core.torch_pickle import load_pickle, refuse_unfounded

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
def test_what_torch_saves_is_read(kind: str, zipped: bool, tmp_path: Path) -> None:
    if not zipped and kind in ("float8", "uint16"):
        pytest.skip("torch does not read these kinds in its old format")
    file = written(KINDS[kind], _use_new_zipfile_serialization=zipped)
    assert repr(load_pickle(file)) == repr(KINDS[kind])
    (tmp_path / "x.pt").write_bytes(file.getvalue())
    assert repr(load_pickle(file, tmp_path / "x.pt")) == repr(KINDS[kind])


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        file = written(TENSORS)
    finally:
        torch.serialization.set_crc32_options(before)
    assert repr(load_pickle(file)) == repr(TENSORS)


def repacked(file: io.BytesIO, harm: str, pickled: bytes | None = None) -> io.BytesIO:
    """The zip once more, with some harm or another pickle in it."""
    packing = zipfile.ZIP_DEFLATED if harm == "packed" else zipfile.ZIP_STORED
    with zipfile.ZipFile(file) as before, zipfile.ZipFile(again := io.BytesIO(), "w", packing) as after:
        for member in before.infolist():
            content = before.read(member)
            after.writestr(member.filename, pickled if pickled and member.filename.endswith("data.pkl") else content)
            if harm == "twice":
                after.writestr(member.filename, content)
    return again


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("harm", "says"), [("packed", "is packed"), ("twice", "one is twice")])
def test_a_zip_that_torch_does_not_write_is_refused(harm: str, says: str) -> None:
    with pytest.raises(DamagedError, match=says):
        load_pickle(repacked(written({"a": torch.zeros(1 << 16)}), harm))


def test_members_that_overlap_are_refused() -> None:
    """The directory leads every name to the bytes of the largest member: a few bytes in it, a tensor each."""
    content = bytearray(written({str(number): torch.zeros(1000) for number in range(3)}).getvalue())
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        first, second = (archive.getinfo(f"archive/data/{number}") for number in (0, 1))
    entry = content.index(b"archive/data/1", archive.start_dir) - 46  # of the central directory
    content[entry + 42 : entry + 46] = first.header_offset.to_bytes(4, "little")
    assert second.header_offset != first.header_offset
    with pytest.raises(DamagedError):
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
def test_a_pickle_that_costs_or_breaks_a_reader_is_one_line(what: str) -> None:
    for file in (repacked(written(TENSORS), "", PICKLES[what] or b"."), io.BytesIO(PICKLES[what])):
        with pytest.raises(DamagedError) as error:
            load_pickle(file)
        assert "\n" not in str(error.value)


def test_tensors_that_the_file_does_not_hold_are_refused() -> None:
    refuse_unfounded([torch.zeros(1000), torch.zeros(1000)], 5000)  # tied weights are twice in it
    for tensor in (torch.zeros(1).expand(10**9), torch.eye(3).to_sparse(), torch.zeros(3, device="meta")):
        with pytest.raises(DamagedError):
            refuse_unfounded([tensor], 5000)


def test_no_pickle_at_all_is_one_line() -> None:
    for content in (b"", b"PK\x03\x04", b"PK\x03\x04" * 99, pickle.dumps(3), b"\x89PNG\r\n" * 99):
        with pytest.raises(DamagedError):
            load_pickle(io.BytesIO(content))


@pytest.mark.parametrize("member", ["data/0", "data/1", "byteorder", "version"])
def test_a_changed_byte_is_refused(member: str) -> None:
    file = written(TENSORS)
    with zipfile.ZipFile(file) as archive:
        content = archive.read(f"archive/{member}")
    data = bytearray(file.getvalue())
    data[data.rindex(content, 0, data.index(b"PK\x01\x02"))] ^= 1
    with pytest.raises(DamagedError, match=f"'archive/{member}' is not what its checksum says"):
        load_pickle(io.BytesIO(data))


@pytest.mark.parametrize("content", [b"", b"\0" * 44, b"\0" * 100])
def test_a_storage_of_another_length_is_refused(content: bytes) -> None:
    """With checksums that are right: whoever swaps a tensor's bytes writes them anew."""
    with zipfile.ZipFile(written(TENSORS)) as before, zipfile.ZipFile(again := io.BytesIO(), "w") as after:
        for name in before.namelist():
            after.writestr(name, content if name.endswith("data/0") else before.read(name))
    with pytest.raises(DamagedError, match="the storage '0' has another length than it says"):
        load_pickle(again)


@pytest.mark.parametrize("value", [torch.empty(0), torch.ones(3)[:2], torch.ones(3).untyped_storage()])
def test_storages_of_every_length_are_read(value: Any) -> None:
    tensors = {"a": value, "b": torch.ones(2, 2).T}
    assert torch.equal(load_pickle(written(tensors))["b"], tensors["b"])
