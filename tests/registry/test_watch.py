"""The watcher reports changes to a server, including a revocation by another process."""

import subprocess
import sys
from datetime import timedelta

import pytest

from worldtune.errors import TamperError
from worldtune.registry import clock
from worldtune.registry.governance.promotion import BreakGlass, promote
from worldtune.registry.registry import open_registry
from worldtune.registry.releases.add import add_release
from worldtune.registry.releases.listing import update_labels
from worldtune.registry.watch import ReleaseWatcher

from .conftest import NAME, Team
from .log_support import forget_log, tamper

STAGING = f"{NAME}@staging"
REVOKE = "from worldtune.cli.main import main; main()"


def test_each_change_is_reported_once(local: Team) -> None:
    first, second = (add_release(local.registry, local["sam"], NAME, local.another()).fact for _ in range(2))
    promote(local.registry, local["sam"], first.name, "staging")
    watch = ReleaseWatcher(open_registry(local.registry.folder), [STAGING, second.name])
    changes_by_reference = {change.reference: change.release for change in watch.poll()}
    assert {name: release and release.digest for name, release in changes_by_reference.items()} == {
        STAGING: first.digest,
        second.name: second.digest,
    }
    assert watch.poll() == []
    update_labels(local.registry, local["sam"], NAME, {"a": "b"})
    assert watch.poll() == []
    promote(local.registry, local["sam"], second.name, "staging")
    (change,) = watch.poll()
    assert (change.reference, change.release and change.release.digest) == (STAGING, second.digest)
    key = local.registry.folder / "keys" / "bob.pem"
    command = ["registry", "revoke", second.name, "--reason", "it drops the cube", "--key", str(key)]
    where = ["--registry", str(local.registry.folder)]
    subprocess.run([sys.executable, "-c", REVOKE, *command, *where], check=True, capture_output=True)
    changes = watch.poll()
    assert [change.reference for change in changes] == [STAGING, second.name]
    assert all(change.release is None and "it drops the cube" in (change.error or "") for change in changes)
    watch.registry.engine.dispose()


def test_break_glass_expires_without_a_write(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    release = add_release(team.registry, team["sam"], NAME, team.another()).fact
    promote(
        team.registry,
        team["ann"],
        release.name,
        "staging",
        break_glass=BreakGlass("down", timedelta(hours=1)),
    )
    watch = ReleaseWatcher(team.registry, [STAGING])
    (change,) = watch.poll()
    assert change.release is not None
    assert change.release.warnings
    later = clock.utc_now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "utc_now", lambda: later)
    (change,) = watch.poll()
    assert "has expired" in (change.error or "")


def test_poll_raises_tamper_error_for_a_changed_log(local: Team) -> None:
    release = add_release(local.registry, local["sam"], NAME, local.another()).fact
    tamper(local.registry, "UPDATE event SET envelope = replace(envelope, 'A', 'B') WHERE sequence = 3")
    forget_log(local.registry)
    with pytest.raises(TamperError):
        ReleaseWatcher(local.registry, [release.name]).poll()
