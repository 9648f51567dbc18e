"""A server asks what changed, and a revocation reaches it, from another process and machine."""

import subprocess
import sys
from datetime import timedelta

import pytest

from worldtune.errors import TamperError
from worldtune.registry import clock
from worldtune.registry.add import add
from worldtune.registry.labels import label
from worldtune.registry.promotion import BreakGlass, promote
from worldtune.registry.registry import open_registry
from worldtune.registry.watch import Watch

from .conftest import NAME, Team
from .log_support import forget, tampered

STAGING = f"{NAME}@staging"
REVOKE = "from worldtune.cli.main import main; main()"


def test_each_change_is_told_once_and_a_revocation_by_another_process_too(local: Team) -> None:
    first, second = (add(local.registry, local["sam"], NAME, local.another()).fact for _ in range(2))
    promote(local.registry, local["sam"], first.name, "staging")
    watch = Watch(open_registry(local.registry.folder), [STAGING, second.name])
    told = {change.reference: change.release for change in watch.look()}
    assert {name: its and its.digest for name, its in told.items()} == {
        STAGING: first.digest,
        second.name: second.digest,
    }
    assert watch.look() == []
    label(local.registry, local["sam"], NAME, {"a": "b"})
    assert watch.look() == []
    promote(local.registry, local["sam"], second.name, "staging")
    (change,) = watch.look()
    assert (change.reference, change.release and change.release.digest) == (STAGING, second.digest)
    key = local.registry.folder / "keys" / "bob.pem"
    command = ["registry", "revoke", second.name, "--reason", "it drops the cube", "--key", str(key)]
    where = ["--registry", str(local.registry.folder)]
    subprocess.run([sys.executable, "-c", REVOKE, *command, *where], check=True, capture_output=True)
    changes = watch.look()
    assert [change.reference for change in changes] == [STAGING, second.name]
    assert all(change.release is None and "it drops the cube" in (change.refusal or "") for change in changes)
    watch.registry.engine.dispose()


def test_break_glass_ends_without_anybody_writing(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    release = add(team.registry, team["sam"], NAME, team.another()).fact
    promote(team.registry, team["ann"], release.name, "staging", glass=BreakGlass("down", timedelta(hours=1)))
    watch = Watch(team.registry, [STAGING])
    (change,) = watch.look()
    assert change.release is not None
    assert change.release.warnings
    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    (change,) = watch.look()
    assert "which has passed" in (change.refusal or "")


def test_a_record_that_was_changed_is_no_mere_refusal(local: Team) -> None:
    release = add(local.registry, local["sam"], NAME, local.another()).fact
    tampered(local.registry, "UPDATE event SET envelope = replace(envelope, 'A', 'B') WHERE sequence = 3")
    forget(local.registry)
    with pytest.raises(TamperError):
        Watch(local.registry, [release.name]).look()
