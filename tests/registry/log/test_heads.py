"""A log that lacks its end, or has another, is refused by who saw it."""

import pytest

from worldtune.errors import TamperError
from worldtune.registry.labels import label
from worldtune.registry.promotion import promote
from worldtune.registry.registry import open_registry
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import checkpoint, delete, events_of, forget, replica_of, resolved
from ..prepared import PRODUCTION, ready


@pytest.mark.parametrize("keeps_replica", [True, False])
def test_log_that_was_cut_off_is_refused_by_who_saw_its_end(team: Team, keeps_replica: bool) -> None:
    release = ready(team)
    promote(team.registry, team["sam"], release.name, "production")
    last = events_of(team.registry)[-1]
    delete(team.registry, last)
    if not keeps_replica:
        forget(team.registry, seen=False)
    for act in (
        lambda: resolved(open_registry(team.registry.folder), PRODUCTION),
        lambda: label(team.registry, team["sam"], NAME, {}),
    ):
        with pytest.raises(TamperError, match=f"the event {last.sequence} that this machine saw is not in the log"):
            act()
    assert any(f"the event {last.sequence} that this machine saw" in fault for fault in verify(team.registry).faults)


@pytest.mark.parametrize("keeps_replica", [True, False])
def test_end_of_the_log_that_was_written_anew_is_refused_by_who_saw_it(local: Team, keeps_replica: bool) -> None:
    release = ready(local)
    promote(local.registry, local["sam"], release.name, "production")
    last, seen = events_of(local.registry)[-1], local.registry.seen.read_bytes()
    content = replica_of(local.registry).path
    checkpoint(content)
    kept = content.read_bytes()
    delete(local.registry, last)
    forget(local.registry)
    label(local.registry, local["sam"], NAME, {"another": "end"})
    label(local.registry, local["sam"], NAME, {"and": "more"})
    forget(local.registry)
    local.registry.seen.write_bytes(seen)
    if keeps_replica:
        content.write_bytes(kept)
        content.chmod(0o600)
    with pytest.raises(TamperError, match="that this machine saw is not in the log any more"):
        resolved(open_registry(local.registry.folder), PRODUCTION)
    assert not verify(local.registry).sound
