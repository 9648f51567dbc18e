"""A client that saw the end of the log rejects a log with a missing or different end."""

import pytest

from worldtune.errors import TamperError
from worldtune.registry.governance.promotion import promote
from worldtune.registry.registry import open_registry
from worldtune.registry.releases.listing import update_labels
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import checkpoint_wal, delete, forget_log, get_replica, list_events, resolve_digest
from ..prepared import PRODUCTION, make_approved_release


@pytest.mark.parametrize("keeps_replica", [True, False])
def test_truncated_log_is_rejected_by_a_client_that_saw_its_end(team: Team, keeps_replica: bool) -> None:
    release = make_approved_release(team)
    promote(team.registry, team["sam"], release.name, "production")
    last = list_events(team.registry)[-1]
    delete(team.registry, last)
    if not keeps_replica:
        forget_log(team.registry, seen=False)
    for act in (
        lambda: resolve_digest(open_registry(team.registry.folder), PRODUCTION),
        lambda: update_labels(team.registry, team["sam"], NAME, {}),
    ):
        with pytest.raises(TamperError, match=f"event {last.sequence}, which this machine saw, is no longer"):
            act()
    assert any(f"event {last.sequence}, which this machine saw" in fault for fault in verify(team.registry).faults)


@pytest.mark.parametrize("keeps_replica", [True, False])
def test_rewritten_end_of_the_log_is_rejected(local: Team, keeps_replica: bool) -> None:
    release = make_approved_release(local)
    promote(local.registry, local["sam"], release.name, "production")
    last, seen = list_events(local.registry)[-1], local.registry.seen_head_path.read_bytes()
    content = get_replica(local.registry).path
    checkpoint_wal(content)
    kept = content.read_bytes()
    delete(local.registry, last)
    forget_log(local.registry)
    update_labels(local.registry, local["sam"], NAME, {"another": "end"})
    update_labels(local.registry, local["sam"], NAME, {"and": "more"})
    forget_log(local.registry)
    local.registry.seen_head_path.write_bytes(seen)
    if keeps_replica:
        content.write_bytes(kept)
        content.chmod(0o600)
    with pytest.raises(TamperError, match=", which this machine saw, is no longer in the log"):
        resolve_digest(open_registry(local.registry.folder), PRODUCTION)
    assert not verify(local.registry).is_valid
