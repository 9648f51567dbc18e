"""The verified replica: a help and no more. Whatever becomes of it, what this machine answers is right."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.files import cache_folder
from worldtune.registry.approval import revoke
from worldtune.registry.facts import Labelled
from worldtune.registry.keys import make_key
from worldtune.registry.labels import label
from worldtune.registry.log import replica
from worldtune.registry.log.state import State
from worldtune.registry.promotion import promote
from worldtune.registry.registry import Listener, Registry, open_registry
from worldtune.registry.releases import resolve
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import checkpoint, delete, events_of, forget, reduce, replica_of, rogue, tampered
from ..prepared import PRODUCTION, ready
from .every_kind import one_of_every_kind


class Heard:
    """A registry as it is opened anew, what it notes, and how many events it verifies."""

    def __init__(self, folder: Path, *, from_nothing: bool = False) -> None:
        self.notes: list[str] = []
        self.verified: list[int] = []
        listener = Listener(self.notes.append, lambda done, total: self.verified.append(done))
        self.registry = open_registry(folder, listener, from_nothing=from_nothing)

    def resolved(self) -> str:
        with self.registry.view() as state:
            return resolve(state, PRODUCTION).digest


@pytest.fixture
def digest(local: Team) -> str:
    """What production holds."""
    release = ready(local)
    promote(local.registry, local["sam"], release.name, "production")
    return release.digest


def rebuilt(registry: Registry) -> State:
    """The state from nothing."""
    with registry.history() as (_, events):
        return reduce(State(registry.place.registry, registry.place.founder), iter(events))


def test_state_that_is_kept_is_the_state(team: Team) -> None:
    one_of_every_kind(team)
    with team.registry.view() as state:
        kept = state.dump()
        assert state.stored is not None
        assert not any(table.changed for table in state.tables.values())
    assert kept == rebuilt(team.registry).dump()
    empty = [name for name, table in rebuilt(team.registry).tables.items() if not list(table.items())]
    assert empty == []
    heard = Heard(team.registry.folder)
    label(heard.registry, team["sam"], NAME, {"last": "one"})
    with heard.registry.view() as state:
        assert state.dump() == rebuilt(team.registry).dump()
    heard.registry.engine.dispose()


def test_what_was_verified_is_not_verified_again(local: Team, digest: str) -> None:
    heard = Heard(local.registry.folder)
    assert (heard.resolved(), heard.verified, heard.notes) == (digest, [], [])
    label(local.registry, local["sam"], NAME, {"a": "b"})
    forget(local.registry, seen=False)
    assert (heard.resolved(), heard.verified) == (digest, list(range(1, 12)))


def test_from_nothing_verifies_all_again_and_keeps_it(local: Team, digest: str) -> None:
    heard = Heard(local.registry.folder, from_nothing=True)
    for turn in (1, 2):
        assert heard.resolved() == digest
        assert len(heard.verified) == 10 * turn
    tampered(local.registry, "UPDATE event SET hash = 'x' WHERE sequence = 4")
    assert Heard(local.registry.folder).resolved() == digest
    with pytest.raises(TamperError, match="event 4"):
        heard.resolved()


def test_who_verifies_all_in_one_transaction_writes_in_it_too(team: Team) -> None:
    """As who had no replica, and whoever writes right after another did."""
    registry = open_registry(team.registry.folder, from_nothing=True)
    release = ready(team)
    label(registry, team["sam"], NAME, {"a": "b"})
    assert promote(registry, team["sam"], release.name, "production").fact.generation == 1
    registry.engine.dispose()
    assert verify(team.registry).sound


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
def test_replica_that_is_gone_is_made_again(local: Team, digest: str, damage: Callable[[Path], None]) -> None:
    checkpoint(replica_of(local.registry).path)
    damage(replica_of(local.registry).path)
    heard = Heard(local.registry.folder)
    assert (heard.resolved(), len(heard.verified), heard.notes) == (digest, 10, [])
    assert (heard.resolved(), len(heard.verified)) == (digest, 10)


@pytest.mark.parametrize("damage", [cut, no_database, scribbled, other_tables, a_folder, a_link, writable_by_all])
def test_replica_that_is_damaged_is_not_used_and_noted(
    local: Team, digest: str, damage: Callable[[Path], None]
) -> None:
    checkpoint(replica_of(local.registry).path)
    damage(replica_of(local.registry).path)
    heard = Heard(local.registry.folder)
    assert heard.resolved() == digest
    assert len(heard.verified) == 10
    assert "replica" in heard.notes[0]
    revoke(heard.registry, local["bob"], f"{NAME}@1", "bad")
    with pytest.raises(RegistryError, match="is revoked: bad"):
        heard.resolved()


@pytest.mark.parametrize("part", ["releases", "heads", "moves", "policies", "identities", "state"])
def test_entry_that_was_changed_decides_nothing(local: Team, digest: str, part: str) -> None:
    """The disk turned a bit of it. Who can write here and puts the digest right decides what this user is answered."""
    path = replica_of(local.registry).path
    with sqlite3.connect(path) as connection:
        changed = connection.execute("UPDATE entry SET value = value || ' ' WHERE part = ?", (part,)).rowcount
    assert changed
    heard = Heard(local.registry.folder)
    assert heard.resolved() == digest
    second = ready(local)
    promote(heard.registry, local["sam"], second.name, "production")
    assert heard.resolved() == second.digest
    if part not in ("policies", "identities"):
        assert any("damaged" in note for note in heard.notes)
    assert verify(local.registry).sound


def test_damaged_entry_does_not_hide_what_others_wrote_since(local: Team, digest: str) -> None:
    path = replica_of(local.registry).path
    checkpoint(path)
    kept = path.read_bytes()
    revoke(local.registry, local["bob"], f"{NAME}@1", "bad")
    forget(local.registry, seen=False)
    path.write_bytes(kept)
    path.chmod(0o600)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entry SET value = value || ' ' WHERE part != 'state'")
    heard = Heard(local.registry.folder)
    for _ in range(2):
        with pytest.raises(RegistryError, match="is revoked: bad"):
            heard.resolved()
    assert len(heard.notes) == 1
    delete(local.registry, events_of(local.registry)[2])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entry SET value = value || ' ' WHERE part != 'state'")
    with pytest.raises(UserError, match="the event 3 is missing"):
        heard.resolved()


def test_replica_of_another_founder_or_of_older_rules_is_not_used(
    local: Team, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = replica_of(local.registry).path
    heard = Heard(local.registry.folder)
    with monkeypatch.context() as older:
        older.setattr(replica, "code_digest", lambda: "other rules")
        assert (heard.resolved(), len(heard.verified)) == (digest, 10)
        assert (heard.resolved(), len(heard.verified)) == (digest, 10)
    with sqlite3.connect(path) as connection:  # only one is kept: that of the newest rules to be used
        (scalars,) = connection.execute("SELECT key FROM entry WHERE part = 'state'").fetchall()
    assert "other rules" in scalars[0]
    checkpoint(path)
    eve = path.with_name(path.name.replace(local.registry.place.founder[:16], "0" * 16))
    path.rename(eve)
    eve.rename(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE entry SET key = replace(key, ?, ?)", (local.registry.place.founder, "0" * 64))
    assert heard.resolved() == digest


def test_cache_that_cannot_be_written_is_noted(local: Team, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_folder() / "registry"
    for path in cache.iterdir():
        path.unlink()
    cache.rmdir()
    cache.write_text("a file where a folder was")
    heard = Heard(local.registry.folder)
    assert heard.resolved() == digest
    assert "cannot be used: " in heard.notes[0]
    second = ready(local)
    promote(heard.registry, local["sam"], second.name, "production")
    assert heard.resolved() == second.digest


@pytest.mark.parametrize("statement", ["INSERT OR REPLACE", "COMMIT"])
def test_full_disk_of_the_cache_is_noted_and_nothing_fails(
    local: Team, digest: str, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """The disk cannot be filled here: the replica's connection says what SQLite says then."""
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

    heard = Heard(local.registry.folder)
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", full)
        revoke(heard.registry, local["bob"], f"{NAME}@1", "bad")
        assert heard.notes
        assert all("is not kept: database or disk is full" in note for note in heard.notes)
        with pytest.raises(RegistryError, match="is revoked: bad"):
            heard.resolved()
    with pytest.raises(RegistryError, match="is revoked: bad"):
        Heard(local.registry.folder).resolved()


def test_another_process_that_keeps_it_meanwhile_hinders_nobody(
    local: Team, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "WAIT_S", 0.05)
    with sqlite3.connect(replica_of(local.registry).path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        heard = Heard(local.registry.folder)
        revoke(heard.registry, local["bob"], f"{NAME}@1", "bad")
        with pytest.raises(RegistryError, match="is revoked: bad"):
            heard.resolved()
        assert heard.notes == []
        other.execute("ROLLBACK")


def test_two_machines_at_one_log_say_the_same(
    local: Team, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path / "other-cache"))
        elsewhere.setenv("XDG_STATE_HOME", str(tmp_path / "other-state"))
        other = Heard(local.registry.folder)
        assert (other.resolved(), len(other.verified)) == (digest, 10)
        revoke(other.registry, local["bob"], f"{NAME}@1", "bad")
        assert other.registry.seen.is_file()
    with pytest.raises(RegistryError, match="is revoked: bad"):
        Heard(local.registry.folder).resolved()


def test_junk_after_what_was_verified_is_found_with_the_replica(local: Team, digest: str, tmp_path: Path) -> None:
    rogue(local.registry, make_key(tmp_path / "eve.pem"), Labelled(adapter=NAME, labels={"a": "b"}))
    with pytest.raises(TamperError, match="signed by a key that nobody has"):
        Heard(local.registry.folder).resolved()
