"""A log in which there is something of every kind, with effect and without."""

from datetime import timedelta

import pytest

from worldtune.registry import clock
from worldtune.registry.add import About, add
from worldtune.registry.approval import approve, revoke, revoke_base, withdraw
from worldtune.registry.bring_in import bring_in
from worldtune.registry.bundle import export
from worldtune.registry.enrolment import expect, retire, set_clock
from worldtune.registry.facts import FACTS, Labelled, Published
from worldtune.registry.lineage import derive
from worldtune.registry.promotion import promote
from worldtune.registry.registry import found_registry

from ..conftest import NAME, Team
from ..log_support import events_of, rogue
from ..prepared import judged, ready


def one_of_every_kind(team: Team) -> None:
    """Besides those with which a registry begins, what came from another one, and what has no effect."""
    registry, sam = team.registry, team["sam"]
    real = clock.now()
    release = ready(team, labels={"robot": "so101"})
    expect(registry, team["ann"], NAME, "base", release.base, "as ever")
    promote(registry, sam, release.name, "production")
    child = add(registry, sam, NAME, team.another(), About(parent=release.name)).fact
    judged(team, child)
    approve(registry, team["bob"], child.name, "production", "good")
    withdraw(registry, team["bob"], child.name, "production", "no")
    derive(registry, sam, "dataset", "films", "a" * 64, (child.name,))
    with registry.writer(sam) as writer:
        writer.append(Published(**child.identity, where="hf:team/pick", revision="b"))
    there = found_registry(team.folder / "there", "ann", team["ann"])
    made = add(there, team["ann"], "line/pick", team.another())
    export(there, made.fact.name, team.folder / "there.tar")
    there.engine.dispose()
    bring_in(registry, sam, team.folder / "there.tar", "brought/pick")
    revoke(registry, team["bob"], child.name, "bad")
    revoke_base(registry, team["bob"], "7" * 64, "a fault")
    with pytest.MonkeyPatch.context() as wrong:
        wrong.setattr(clock, "now", lambda: real + timedelta(days=300))
        with registry.writer(sam) as writer:
            writer.append(Labelled(adapter=NAME, labels={"a": "b"}))
    set_clock(registry, team["ann"], "it was September")
    rogue(registry, team["bob"], Labelled(adapter=NAME, labels={"a": "c"}))
    retire(registry, team["ann"], team["bea"].public_key.keyid, "gone", stolen=True)
    assert {type(event.fact) for event in events_of(registry)} == set(FACTS)
