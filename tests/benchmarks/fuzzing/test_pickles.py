"""The oracle of torch's files reads them as torch does, and sees what torch does not look at."""

import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.fuzzing.pickles import parse_checkpoint_entries, parse_old_pt, parse_pt
from benchmarks.fuzzing.reader import RefusedError
from benchmarks.fuzzing.tensors import summarize_tensors
from worldtune.core.tensors.dcp import save_tensors


def tensors() -> dict[str, Tensor]:
    whole = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    return {
        "whole": whole,
        "part": whole[1:3, ::2],
        "turned": whole.T,
        "half": torch.ones(3).half(),
        "none": torch.empty(0),
    }


def test_both_forms_of_a_pt_are_read_as_by_torch(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "a.pt")
    torch.save({"model": tensors()}, tmp_path / "nested.pt")
    torch.save(tensors(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    expected = summarize_tensors(tensors())
    assert (
        parse_pt(tmp_path / "a.pt") == parse_pt(tmp_path / "nested.pt") == parse_old_pt(tmp_path / "old.pt") == expected
    )


def test_entries_of_a_checkpoint_are_its_tensors(tmp_path: Path) -> None:
    save_tensors(tmp_path, tensors())
    entries = [entry for file in tmp_path.glob("*.distcp") for entry in parse_checkpoint_entries(file)]
    assert sorted(entries) == sorted(summarize_tensors(tensors()).values())


@pytest.mark.parametrize("read", [parse_pt, parse_checkpoint_entries])
def test_a_flipped_bit_of_a_tensor_is_refused(tmp_path: Path, read: object) -> None:
    torch.save(tensors() if read is parse_pt else tensors()["whole"], tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    data[data.index(torch.arange(4.0).numpy().tobytes()) + 2] ^= 1
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(RefusedError, match="checksum is wrong"):
        read(tmp_path / "a")  # type: ignore[operator]


def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as opened, pytest.warns(UserWarning, match="Duplicate name"):
        opened.writestr(opened.namelist()[0], b"x")
    with pytest.raises(RefusedError, match="exists twice"):
        parse_pt(tmp_path / "a.pt")


def test_any_other_name_in_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"a": Path("x")}, tmp_path / "a.pt")
    with pytest.raises(RefusedError, match="it names pathlib"):
        parse_pt(tmp_path / "a.pt")
