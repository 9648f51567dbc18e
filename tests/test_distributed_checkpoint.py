"""Checkpoint folders are data: only tensors come out of them, and nothing runs."""

import enum
import io
import os
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worldtune.distributed_checkpoint import load_tensors, tensors_in
from worldtune.errors import UserError


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder of torch's own making, with tensors of several kinds and an entry that is none."""
    state: dict[str, Any] = {
        "a": torch.arange(6.0).view(2, 3), "net": {"b": torch.ones(4, dtype=torch.bfloat16)},
        "step": torch.tensor(7), "name": "a string",
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=tmp_path / "saved", no_dist=True)
    return tmp_path / "saved"


def refusal(folder: Path, into: dict[str, torch.Tensor]) -> str:
    with pytest.raises(UserError) as error:
        load_tensors(folder, into)
    return str(error.value)


def test_tensors_come_out_as_they_went_in(saved: Path) -> None:
    into = {"a": torch.zeros(2, 3), "net.b": torch.zeros(4, dtype=torch.bfloat16), "step": torch.tensor(0)}
    load_tensors(saved, into)
    assert torch.equal(into["a"], torch.arange(6.0).view(2, 3))
    assert torch.equal(into["net.b"], torch.ones(4, dtype=torch.bfloat16))
    assert into["step"] == 7
    kinds = {"a": ((2, 3), torch.float32), "net.b": ((4,), torch.bfloat16), "step": ((), torch.int64)}
    assert tensors_in(saved) == kinds


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [("c", (2,), "c is absent"), ("a", (3, 2), r"a is torch.Size([2, 3]), not (3, 2)"), ("name", (1,), "no tensor")],
)
def test_what_does_not_fit_is_named(saved: Path, name: str, shape: tuple[int, ...], says: str) -> None:
    assert says in refusal(saved, {name: torch.zeros(shape)})


class Bomb:
    """What a hostile index would hold."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def test_an_index_that_would_run_a_command_is_refused(saved: Path, tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    (saved / ".metadata").write_bytes(pickle.dumps(Bomb(f"touch {trace}")))
    assert "the index names posix.system" in refusal(saved, {"a": torch.zeros(2, 3)})
    with pytest.raises(UserError, match=r"posix\.system"):
        tensors_in(saved)
    assert not trace.exists()


@pytest.mark.parametrize(
    "name", ["torch load", "torch hub", "builtins eval", "os Size", "torch.storage _load_from_bytes"]
)
def test_every_other_name_is_refused(saved: Path, name: str) -> None:
    (saved / ".metadata").write_bytes(b"c" + name.replace(" ", "\n").encode() + b"\n.")
    assert f"the index names {name.replace(' ', '.')}" in refusal(saved, {"a": torch.zeros(2, 3)})


class Member:
    """Python 3.11.2 pickles a member of an enumeration like this."""

    def __init__(self, kind: Any, name: str) -> None:
        self.taken = kind, name

    def __reduce__(self) -> tuple[Any, tuple[Any, str]]:
        return getattr, self.taken


def test_of_attributes_only_a_member_of_an_index_s_own_enumeration_is_read(saved: Path) -> None:
    index = pickle.loads((saved / ".metadata").read_bytes())
    expected = tensors_in(saved)
    (saved / ".metadata").write_bytes(_with_members(index))
    assert tensors_in(saved) == expected
    assert b"getattr" in (saved / ".metadata").read_bytes()
    (saved / ".metadata").write_bytes(pickle.dumps(Member(torch.Size, "__new__")))
    assert "the index names an attribute of" in refusal(saved, {"a": torch.zeros(2, 3)})


def _with_members(index: Any) -> bytes:
    class Pickler(pickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            return (getattr, (type(value), value.name)) if isinstance(value, enum.Enum) else NotImplemented

    written = io.BytesIO()
    Pickler(written).dump(index)
    return written.getvalue()


@pytest.mark.parametrize("place", ["../outside", "/etc/passwd"])
def test_an_index_that_leads_elsewhere_is_refused(saved: Path, place: str) -> None:
    index = pickle.loads((saved / ".metadata").read_bytes())
    for entry in index.storage_data.values():
        entry.relative_path = place
    (saved / ".metadata").write_bytes(pickle.dumps(index))
    assert f"leads out of its folder, to {place}" in refusal(saved, {"a": torch.zeros(2, 3)})


@pytest.mark.parametrize("harm", ["no index", "cut index", "another pickle", "cut tensors", "no tensors"])
def test_a_damaged_folder_is_one_line(saved: Path, harm: str) -> None:
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
    text = refusal(saved, {"a": torch.zeros(2, 3)})
    assert text.startswith("the checkpoint cannot be read: ")
    assert "\n" not in text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 600), byte=st.integers(0, 255))
def test_a_changed_byte_of_the_index_is_no_traceback(saved: Path, place: int, byte: int) -> None:
    path = saved / ".metadata"
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[place % len(whole)] = byte
    path.write_bytes(changed)
    try:
        tensors_in(saved)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017  it may be whole enough to be read, too
    finally:
        path.write_bytes(whole)
