"""Signed heads: stored elsewhere, compared and pinned."""

import json
from pathlib import Path

import pytest

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.exchange.signed_checkpoint import (
    PREDICATE_TYPE,
    check_signed_head,
    pin_signed_head,
    write_signed_head,
)
from worldtune.registry.governance.admin import retire_key
from worldtune.registry.log.resolve import resolve
from worldtune.registry.log.seen_head import read_seen_head
from worldtune.registry.registry import Listener, create_registry, open_registry
from worldtune.registry.releases.listing import update_labels
from worldtune.registry.signing.dsse import make_statement, sign
from worldtune.registry.signing.keys import generate_key
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import delete, forget_log, list_events
from ..prepared import make_release


def test_truncated_log_is_detected_by_a_client_that_saw_it(team: Team, tmp_path: Path) -> None:
    write_signed_head(team.registry, team["ann"], tmp_path / "head.json")
    make_release(team)
    delete(team.registry, list_events(team.registry)[-1])
    assert any("event 7, which this machine saw, is no longer" in fault for fault in verify(team.registry).faults)
    forget_log(team.registry)
    assert verify(team.registry).is_valid  # nothing in the log shows it
    assert check_signed_head(team.registry, tmp_path / "head.json").sequence > 1  # nor does an older head


def test_signed_head_reveals_a_rewritten_chain(team: Team, tmp_path: Path) -> None:
    make_release(team)
    head = write_signed_head(team.registry, team["ann"], tmp_path / "head.json")
    assert check_signed_head(team.registry, tmp_path / "head.json") == head
    delete(team.registry, list_events(team.registry)[-1])
    forget_log(team.registry)
    make_release(team)
    with pytest.raises(TamperError, match=f"event {head.sequence} differs from the head that ann signed"):
        check_signed_head(team.registry, tmp_path / "head.json")
    forged = json.loads((tmp_path / "head.json").read_text())
    forged["payload"] = forged["payload"][:-8] + "AAAAAAA="
    (tmp_path / "head.json").write_text(json.dumps(forged))
    with pytest.raises(RegistryError):
        check_signed_head(team.registry, tmp_path / "head.json")


def test_pinned_head_is_required_on_a_new_machine(team: Team, tmp_path: Path) -> None:
    release = make_release(team)
    head = write_signed_head(team.registry, team["ann"], tmp_path / "head.json")
    forget_log(team.registry)
    assert pin_signed_head(team.registry, tmp_path / "head.json") == head
    assert read_seen_head(team.registry.seen_head_path) == (head.sequence, head.hash)
    delete(team.registry, list_events(team.registry)[-1])
    for _ in range(2):
        with pytest.raises(TamperError, match="which this machine saw"):
            _resolve(team, release.name)
        forget_log(team.registry, seen=False)
    with pytest.raises(TamperError):
        pin_signed_head(team.registry, tmp_path / "head.json")


def _resolve(team: Team, text: str) -> str:
    with team.registry.view() as state:
        return resolve(state, text).digest


def test_pinning_an_older_head_keeps_the_newer_one(local: Team, tmp_path: Path) -> None:
    write_signed_head(local.registry, local["ann"], tmp_path / "head.json")
    make_release(local)
    seen = read_seen_head(local.registry.seen_head_path)
    pin_signed_head(local.registry, tmp_path / "head.json")
    assert read_seen_head(local.registry.seen_head_path) == seen


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"sequence": 99}, "event 99 differs from the head that sam signed"),
        ({"hash": "0" * 64}, "event 7 differs from the head that sam signed"),
        ({"registry": "0" * 36}, "not a signed head of this registry"),
        ({"sequence": 0}, "not a signed head"),
        ({"hash": "x"}, "not a signed head"),
        ({"more": 1}, "not a signed head"),
    ],
)
def test_invalid_head_is_not_pinned(local: Team, tmp_path: Path, changed: dict[str, object], why: str) -> None:
    make_release(local)
    head = write_signed_head(local.registry, local["sam"], tmp_path / "head.json").model_dump() | changed
    (tmp_path / "head.json").write_bytes(sign(make_statement({"head": "0" * 64}, PREDICATE_TYPE, head), local["sam"]))
    before = read_seen_head(local.registry.seen_head_path)
    with pytest.raises(TamperError, match=why):
        pin_signed_head(local.registry, tmp_path / "head.json")
    assert read_seen_head(local.registry.seen_head_path) == before


def test_head_of_an_unknown_or_stolen_key_is_rejected(local: Team, tmp_path: Path) -> None:
    make_release(local)
    with pytest.raises(RegistryError, match="is not enrolled in this registry"):
        write_signed_head(local.registry, generate_key(tmp_path / "eve.pem"), tmp_path / "no.json")
    other = create_registry(tmp_path / "other", "eve", generate_key(tmp_path / "eve2.pem"))
    other.engine.dispose()
    write_signed_head(local.registry, local["bob"], tmp_path / "head.json")
    retire_key(local.registry, local["ann"], local["bob"].public_key.keyid, "gone", stolen=True)
    with pytest.raises(TamperError, match="the head was signed by a stolen key"):
        pin_signed_head(local.registry, tmp_path / "head.json")
    with pytest.raises(RegistryError, match="the file cannot be read"):
        pin_signed_head(local.registry, tmp_path / "none.json")


@pytest.mark.parametrize("content", [b"", b"{}", b'{"sequence": "x", "hash": ""}', b"[]"])
def test_damaged_seen_head_is_reported(local: Team, content: bytes) -> None:
    make_release(local)
    local.registry.seen_head_path.write_bytes(content)
    with pytest.raises(RegistryError, match=str(local.registry.seen_head_path)):
        update_labels(local.registry, local["sam"], NAME, {"a": "b"})


def test_unsaved_head_does_not_fail_a_write(local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full only for the seen head; the committed event stays."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worldtune.registry.log.seen_head.write_json", full)
    release = make_release(local)
    with local.registry.view() as state:
        assert release.name in state.releases


def test_unwritable_state_folder_is_noted(local: Team, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    notes: list[str] = []
    registry = open_registry(local.registry.folder, Listener(notes.append))
    update_labels(registry, local["sam"], make_release(local).adapter, {"a": "b"})
    with registry.view() as state:
        assert state.labels[NAME] == {"a": "b"}
    assert "this machine could not save the newest event" in notes[0]
