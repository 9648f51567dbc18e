"""A log with events of every kind, with and without effect."""

from datetime import timedelta

import pytest

from worldtune.registry import clock
from worldtune.registry.events.events import FACT_TYPES, Labeled, ReleasePublished
from worldtune.registry.exchange.import_release import import_release
from worldtune.registry.exchange.oci_bundle import export_release
from worldtune.registry.governance.admin import retire_key, set_clock, set_expectation
from worldtune.registry.governance.approval import approve, revoke_base, revoke_release, withdraw_approval
from worldtune.registry.governance.promotion import promote
from worldtune.registry.registry import create_registry
from worldtune.registry.releases.add import ReleaseMetadata, add_release
from worldtune.registry.releases.lineage import record_derivation

from ..conftest import NAME, Team
from ..log_support import append_unchecked, list_events
from ..prepared import attach_evidence, make_approved_release


def one_of_every_kind(team: Team) -> None:
    """Append events of every kind, some of them imported and some without effect."""
    registry, sam = team.registry, team["sam"]
    real = clock.utc_now()
    release = make_approved_release(team, labels={"robot": "so101"})
    set_expectation(registry, team["ann"], NAME, "base", release.base, "as ever")
    promote(registry, sam, release.name, "production")
    child = add_release(registry, sam, NAME, team.another(), ReleaseMetadata(parent=release.name)).fact
    attach_evidence(team, child)
    approve(registry, team["bob"], child.name, "production", "good")
    withdraw_approval(registry, team["bob"], child.name, "production", "no")
    record_derivation(registry, sam, "dataset", "films", "a" * 64, (child.name,))
    with registry.writer(sam) as writer:
        writer.append(ReleasePublished(**child.identity, location="hf:team/pick", revision="b"))
    there = create_registry(team.folder / "there", "ann", team["ann"])
    made = add_release(there, team["ann"], "line/pick", team.another())
    export_release(there, made.fact.name, team.folder / "there.tar")
    there.engine.dispose()
    import_release(registry, sam, team.folder / "there.tar", "brought/pick")
    revoke_release(registry, team["bob"], child.name, "bad")
    revoke_base(registry, team["bob"], "7" * 64, "a fault")
    with pytest.MonkeyPatch.context() as wrong:
        wrong.setattr(clock, "utc_now", lambda: real + timedelta(days=300))
        with registry.writer(sam) as writer:
            writer.append(Labeled(adapter=NAME, labels={"a": "b"}))
    set_clock(registry, team["ann"], "it was September")
    append_unchecked(registry, team["bob"], Labeled(adapter=NAME, labels={"a": "c"}))
    retire_key(registry, team["ann"], team["bea"].public_key.keyid, "gone", stolen=True)
    assert {type(event.fact) for event in list_events(registry)} == set(FACT_TYPES)
