"""Signed heads: kept elsewhere, compared with, pinned."""

import json
from pathlib import Path

import pytest

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.enrolment import retire
from worldtune.registry.heads import KIND, check_head, pin_head, write_head
from worldtune.registry.keys import make_key
from worldtune.registry.labels import label
from worldtune.registry.log.heads import read_seen
from worldtune.registry.registry import Listener, found_registry, open_registry
from worldtune.registry.releases import resolve
from worldtune.registry.statements import sign, statement
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import delete, events_of, forget
from .prepared import released


def test_log_that_was_cut_short_is_known_by_who_saw_it(team: Team, tmp_path: Path) -> None:
    write_head(team.registry, team["ann"], tmp_path / "head.json")
    released(team)
    delete(team.registry, events_of(team.registry)[-1])
    assert any("the event 7 that this machine saw is not in the log" in fault for fault in verify(team.registry).faults)
    forget(team.registry)
    assert verify(team.registry).sound  # nothing inside shows it
    assert check_head(team.registry, tmp_path / "head.json").sequence > 1  # nor does a head from before


def test_signed_head_tells_of_a_chain_that_was_built_anew(team: Team, tmp_path: Path) -> None:
    released(team)
    head = write_head(team.registry, team["ann"], tmp_path / "head.json")
    assert check_head(team.registry, tmp_path / "head.json") == head
    delete(team.registry, events_of(team.registry)[-1])
    forget(team.registry)
    released(team)
    with pytest.raises(TamperError, match=f"the event {head.sequence} is not what ann signed"):
        check_head(team.registry, tmp_path / "head.json")
    forged = json.loads((tmp_path / "head.json").read_text())
    forged["payload"] = forged["payload"][:-8] + "AAAAAAA="
    (tmp_path / "head.json").write_text(json.dumps(forged))
    with pytest.raises(RegistryError):
        check_head(team.registry, tmp_path / "head.json")


def test_head_that_is_pinned_is_asked_for_by_a_machine_that_saw_nothing(team: Team, tmp_path: Path) -> None:
    release = released(team)
    head = write_head(team.registry, team["ann"], tmp_path / "head.json")
    forget(team.registry)
    assert pin_head(team.registry, tmp_path / "head.json") == head
    assert read_seen(team.registry.seen) == (head.sequence, head.hash)
    delete(team.registry, events_of(team.registry)[-1])
    for _ in range(2):
        with pytest.raises(TamperError, match="that this machine saw"):
            _resolve(team, release.name)
        forget(team.registry, seen=False)
    with pytest.raises(TamperError):
        pin_head(team.registry, tmp_path / "head.json")


def _resolve(team: Team, text: str) -> str:
    with team.registry.view() as state:
        return resolve(state, text).digest


def test_older_head_that_is_pinned_does_not_replace_a_newer_one(local: Team, tmp_path: Path) -> None:
    write_head(local.registry, local["ann"], tmp_path / "head.json")
    released(local)
    seen = read_seen(local.registry.seen)
    pin_head(local.registry, tmp_path / "head.json")
    assert read_seen(local.registry.seen) == seen


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sequence": 99}, "the event 99 is not what sam signed"),
        ({"hash": "0" * 64}, "the event 7 is not what sam signed"),
        ({"registry": "0" * 36}, "it is no head of this registry"),
        ({"sequence": 0}, "it is no head"),
        ({"hash": "x"}, "it is no head"),
        ({"more": 1}, "it is no head"),
    ],
)
def test_head_that_is_none_is_not_pinned(local: Team, tmp_path: Path, changed: dict[str, object], why: str) -> None:
    released(local)
    head = write_head(local.registry, local["sam"], tmp_path / "head.json").model_dump() | changed
    (tmp_path / "head.json").write_bytes(sign(statement({"head": "0" * 64}, KIND, head), local["sam"]))
    before = read_seen(local.registry.seen)
    with pytest.raises(TamperError, match=why):
        pin_head(local.registry, tmp_path / "head.json")
    assert read_seen(local.registry.seen) == before


def test_head_of_a_stranger_or_a_stolen_key_is_none(local: Team, tmp_path: Path) -> None:
    released(local)
    with pytest.raises(RegistryError, match="nobody here has the key"):
        write_head(local.registry, make_key(tmp_path / "eve.pem"), tmp_path / "no.json")
    other = found_registry(tmp_path / "other", "eve", make_key(tmp_path / "eve2.pem"))
    other.engine.dispose()
    write_head(local.registry, local["bob"], tmp_path / "head.json")
    retire(local.registry, local["ann"], local["bob"].public_key.keyid, "gone", stolen=True)
    with pytest.raises(TamperError, match="it was signed by a stolen key"):
        pin_head(local.registry, tmp_path / "head.json")
    with pytest.raises(RegistryError, match="it cannot be read"):
        pin_head(local.registry, tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"sequence": "x", "hash": ""}', b"[]"])
def test_seen_head_that_is_damaged_is_said(local: Team, content: bytes) -> None:
    released(local)
    local.registry.seen.write_bytes(content)
    with pytest.raises(RegistryError, match=str(local.registry.seen)):
        label(local.registry, local["sam"], NAME, {"a": "b"})


def test_head_that_cannot_be_kept_is_noted_and_nothing_fails(local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed is committed: the disk is full only where this machine remembers it."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worldtune.registry.log.heads.write_json", full)
    release = released(local)
    with local.registry.view() as state:
        assert release.name in state.releases


def test_state_folder_that_cannot_be_made_hinders_nobody(
    local: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    notes: list[str] = []
    registry = open_registry(local.registry.folder, Listener(notes.append))
    label(registry, local["sam"], released(local).adapter, {"a": "b"})
    with registry.view() as state:
        assert state.labels[NAME] == {"a": "b"}
    assert "this machine does not remember the newest event" in notes[0]
