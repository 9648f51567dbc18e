"""The verified replica: a cache. A missing, damaged or changed replica never changes a result."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from worldtune.core.code_digest import PACKAGE, reached
from worldtune.core.files import cache_folder
from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.registry.events.events import Labeled
from worldtune.registry.governance.approval import revoke_release
from worldtune.registry.governance.promotion import promote
from worldtune.registry.log import replica
from worldtune.registry.log.resolve import resolve
from worldtune.registry.log.state import State
from worldtune.registry.registry import Listener, Registry, open_registry
from worldtune.registry.releases.listing import update_labels
from worldtune.registry.signing.keys import generate_key
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import (
    append_unchecked,
    checkpoint_wal,
    delete,
    forget_log,
    get_replica,
    list_events,
    reduce_events,
    tamper,
)
from ..prepared import PRODUCTION, make_approved_release
from .every_kind import one_of_every_kind


class RecordingRegistry:
    """A newly opened registry that records its notes and the events that it verifies."""

    def __init__(self, folder: Path, *, ignore_cache: bool = False) -> None:
        self.notes: list[str] = []
        self.verified: list[int] = []
        listener = Listener(self.notes.append, lambda done, total, note="": self.verified.append(done))
        self.registry = open_registry(folder, listener, ignore_cache=ignore_cache)

    def resolved(self) -> str:
        with self.registry.view() as state:
            return resolve(state, PRODUCTION).digest


@pytest.fixture
def digest(local: Team) -> str:
    """The digest of the release in production."""
    release = make_approved_release(local)
    promote(local.registry, local["sam"], release.name, "production")
    return release.digest


def rebuilt(registry: Registry) -> State:
    """Return the state that is rebuilt from all events."""
    with registry.history() as (_, events):
        return reduce_events(State(registry.config.registry, registry.config.founder), iter(events))


def test_cached_state_equals_the_rebuilt_state(team: Team) -> None:
    one_of_every_kind(team)
    with team.registry.view() as state:
        kept = state.dump()
        assert state.stored is not None
        assert not any(table.changed for table in state.tables.values())
    assert kept == rebuilt(team.registry).dump()
    empty = [name for name, table in rebuilt(team.registry).tables.items() if not list(table.items())]
    assert empty == []
    recorder = RecordingRegistry(team.registry.folder)
    update_labels(recorder.registry, team["sam"], NAME, {"last": "one"})
    with recorder.registry.view() as state:
        assert state.dump() == rebuilt(team.registry).dump()
    recorder.registry.engine.dispose()


def test_verified_events_are_not_verified_again(local: Team, digest: str) -> None:
    recorder = RecordingRegistry(local.registry.folder)
    assert (recorder.resolved(), recorder.verified, recorder.notes) == (digest, [], [])
    update_labels(local.registry, local["sam"], NAME, {"a": "b"})
    forget_log(local.registry, seen=False)
    assert (recorder.resolved(), recorder.verified) == (digest, list(range(1, 12)))


def test_ignore_cache_verifies_every_event(local: Team, digest: str) -> None:
    recorder = RecordingRegistry(local.registry.folder, ignore_cache=True)
    for turn in (1, 2):
        assert recorder.resolved() == digest
        assert len(recorder.verified) == 10 * turn
    tamper(local.registry, "UPDATE event SET hash = 'x' WHERE sequence = 4")
    assert RecordingRegistry(local.registry.folder).resolved() == digest
    with pytest.raises(TamperError, match="event 4"):
        recorder.resolved()


def test_full_verification_and_write_share_one_transaction(team: Team) -> None:
    """This is the case without a replica, and right after another client wrote."""
    registry = open_registry(team.registry.folder, ignore_cache=True)
    release = make_approved_release(team)
    update_labels(registry, team["sam"], NAME, {"a": "b"})
    assert promote(registry, team["sam"], release.name, "production").fact.generation == 1
    registry.engine.dispose()
    assert verify(team.registry).is_valid


def deleted(path: Path) -> None:
    path.unlink()


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def no_database(path: Path) -> None:
    path.write_bytes(b"x" * 40_000)


def scribbled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(4096, len(content), 97):
        content[place] ^= 0x55
    path.write_bytes(content)


def other_tables(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE entry (a TEXT)")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def writable_by_all(path: Path) -> None:
    path.chmod(0o666)


@pytest.mark.parametrize("damage", [deleted, emptied])
def test_missing_replica_is_rebuilt(local: Team, digest: str, damage: Callable[[Path], None]) -> None:
    checkpoint_wal(get_replica(local.registry).path)
    damage(get_replica(local.registry).path)
    recorder = RecordingRegistry(local.registry.folder)
    assert (recorder.resolved(), len(recorder.verified), recorder.notes) == (digest, 10, [])
    assert (recorder.resolved(), len(recorder.verified)) == (digest, 10)


@pytest.mark.parametrize("damage", [cut, no_database, scribbled, other_tables, a_folder, a_link, writable_by_all])
def test_damaged_replica_is_noted_and_not_used(local: Team, digest: str, damage: Callable[[Path], None]) -> None:
    checkpoint_wal(get_replica(local.registry).path)
    damage(get_replica(local.registry).path)
    recorder = RecordingRegistry(local.registry.folder)
    assert recorder.resolved() == digest
    assert len(recorder.verified) == 10
    assert "replica" in recorder.notes[0]
    revoke_release(recorder.registry, local["bob"], f"{NAME}@1", "bad")
    with pytest.raises(RegistryError, match="is revoked: bad"):
        recorder.resolved()


@pytest.mark.parametrize("part", ["releases", "heads", "moves", "policies", "identities", "state"])
def test_changed_replica_entry_has_no_effect(local: Team, digest: str, part: str) -> None:
    """The disk changed a bit. (An attacker who also fixes the digest can mislead this user.)"""
    path = get_replica(local.registry).path
    with sqlite3.connect(path) as connection:
        changed = connection.execute("UPDATE entry SET value = value || ' ' WHERE table_name = ?", (part,)).rowcount
    assert changed
    recorder = RecordingRegistry(local.registry.folder)
    assert recorder.resolved() == digest
    second = make_approved_release(local)
    promote(recorder.registry, local["sam"], second.name, "production")
    assert recorder.resolved() == second.digest
    if part not in ("policies", "identities"):
        assert any("damaged" in note for note in recorder.notes)
    assert verify(local.registry).is_valid


def test_damaged_entry_does_not_hide_new_events(local: Team, digest: str) -> None:
    path = get_replica(local.registry).path
    checkpoint_wal(path)
    kept = path.read_bytes()
    revoke_release(local.registry, local["bob"], f"{NAME}@1", "bad")
    forget_log(local.registry, seen=False)
    path.write_bytes(kept)
    path.chmod(0o600)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entry SET value = value || ' ' WHERE table_name != 'state'")
    recorder = RecordingRegistry(local.registry.folder)
    for _ in range(2):
        with pytest.raises(RegistryError, match="is revoked: bad"):
            recorder.resolved()
    assert len(recorder.notes) == 1
    delete(local.registry, list_events(local.registry)[2])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entry SET value = value || ' ' WHERE table_name != 'state'")
    with pytest.raises(UserError, match="event 3 is missing"):
        recorder.resolved()


def test_replica_of_other_founder_or_rules_is_not_used(
    local: Team, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = get_replica(local.registry).path
    recorder = RecordingRegistry(local.registry.folder)
    with monkeypatch.context() as older:
        older.setattr(replica, "code_digest", lambda *modules: "other rules")
        assert (recorder.resolved(), len(recorder.verified)) == (digest, 10)
        assert (recorder.resolved(), len(recorder.verified)) == (digest, 10)
    with sqlite3.connect(path) as connection:  # only one is kept: that of the newest rules to be used
        (scalars,) = connection.execute("SELECT key FROM entry WHERE table_name = 'state'").fetchall()
    assert "other rules" in scalars[0]
    checkpoint_wal(path)
    eve = path.with_name(path.name.replace(local.registry.config.founder[:16], "0" * 16))
    path.rename(eve)
    eve.rename(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entry SET key = replace(key, ?, ?)", (local.registry.config.founder, "0" * 64))
    assert recorder.resolved() == digest


def test_unwritable_cache_is_noted(local: Team, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_folder() / "registry"
    for path in cache.iterdir():
        path.unlink()
    cache.rmdir()
    cache.write_text("a file where a folder was")
    recorder = RecordingRegistry(local.registry.folder)
    assert recorder.resolved() == digest
    assert "cannot be used: " in recorder.notes[0]
    second = make_approved_release(local)
    promote(recorder.registry, local["sam"], second.name, "production")
    assert recorder.resolved() == second.digest


@pytest.mark.parametrize("statement", ["INSERT OR REPLACE", "COMMIT"])
def test_full_cache_disk_is_noted(local: Team, digest: str, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """A test cannot fill the disk, so the replica's connection raises SQLite's error for a full disk."""
    connect = sqlite3.connect

    class Full(sqlite3.Connection):
        def execute(self, sql: str, *values: object) -> sqlite3.Cursor:
            if sql.startswith(statement):
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *values)  # type: ignore[arg-type]

        def executemany(self, sql: str, *values: object) -> sqlite3.Cursor:
            if sql.startswith(statement):
                raise sqlite3.OperationalError("database or disk is full")
            return super().executemany(sql, *values)  # type: ignore[arg-type]

    def full(path: Path, **options: object) -> sqlite3.Connection:
        return connect(path, **options, factory=Full)  # type: ignore[call-overload]

    recorder = RecordingRegistry(local.registry.folder)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", full)
        revoke_release(recorder.registry, local["bob"], f"{NAME}@1", "bad")
        assert recorder.notes
        assert all("was not saved: database or disk is full" in note for note in recorder.notes)
        with pytest.raises(RegistryError, match="is revoked: bad"):
            recorder.resolved()
    with pytest.raises(RegistryError, match="is revoked: bad"):
        RecordingRegistry(local.registry.folder).resolved()


def test_replica_locked_by_another_process_is_no_error(
    local: Team, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "TIMEOUT_S", 0.05)
    with sqlite3.connect(get_replica(local.registry).path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        recorder = RecordingRegistry(local.registry.folder)
        revoke_release(recorder.registry, local["bob"], f"{NAME}@1", "bad")
        with pytest.raises(RegistryError, match="is revoked: bad"):
            recorder.resolved()
        assert recorder.notes == []
        other.execute("ROLLBACK")


def test_two_machines_agree_on_one_log(
    local: Team, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path / "other-cache"))
        elsewhere.setenv("XDG_STATE_HOME", str(tmp_path / "other-state"))
        other = RecordingRegistry(local.registry.folder)
        assert (other.resolved(), len(other.verified)) == (digest, 10)
        revoke_release(other.registry, local["bob"], f"{NAME}@1", "bad")
        assert other.registry.seen_head_path.is_file()
    with pytest.raises(RegistryError, match="is revoked: bad"):
        RecordingRegistry(local.registry.folder).resolved()


def test_invalid_event_after_the_replica_is_found(local: Team, digest: str, tmp_path: Path) -> None:
    append_unchecked(local.registry, generate_key(tmp_path / "eve.pem"), Labeled(adapter=NAME, labels={"a": "b"}))
    with pytest.raises(TamperError, match="signed by an unknown key"):
        RecordingRegistry(local.registry.folder).resolved()


def test_replica_is_bound_to_the_code_of_the_rules() -> None:
    modules = reached(PACKAGE, replica.RULES)
    for name in (
        "log.rules",
        "log.permissions",
        "log.reducer",
        "log.event_log",
        "events.events",
        "signing.dsse",
        "signing.keys",
        "policy",
    ):
        assert f"worldtune.registry.{name}" in modules
