"""The state is a function of the events: what a stolen key let in is void, and what it used up stays used up."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.add import About, add
from worldtune.registry.approval import revoke, withdraw
from worldtune.registry.enrolment import enrol, retire, set_policy
from worldtune.registry.facts import Moved, Released
from worldtune.registry.keys import make_key, public_path
from worldtune.registry.labels import label
from worldtune.registry.log.rules import generation_of, next_number
from worldtune.registry.log.state import State, place
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import BreakGlass, promote, rollback
from worldtune.registry.registry import Registry
from worldtune.registry.releases import resolve
from worldtune.registry.standing import policy_now
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import forget, reduce, rogue
from ..prepared import PRODUCTION, ready, released


def stolen(team: Team, person: str) -> None:
    retire(team.registry, team["ann"], team[person].public_key.keyid, "it was in the bin", stolen=True)


def check_rebuilt(registry: Registry) -> State:
    """The state is the same for who follows the log, who reads it all, and who has it in memory."""
    with registry.history() as (state, events):
        followed = state.dump()
        reduced = reduce(State(registry.place.registry, registry.place.founder), iter(events))
    assert reduced.dump() == followed
    forget(registry)
    with registry.view() as state:
        assert state.dump() == followed
    return reduced


def submitter(team: Team) -> str:
    first, second = ready(team), released(team)
    promote(team.registry, team["sam"], first.name, "production")
    label(team.registry, team["sam"], NAME, {"a": "b"})
    promote(team.registry, team["sam"], second.name, "staging")
    return "sam"


def approver(team: Team) -> str:
    first = ready(team)
    promote(team.registry, team["sam"], first.name, "production")
    withdraw(team.registry, team["bob"], first.name, "production", "no")
    revoke(team.registry, team["bob"], released(team).name, "bad")
    return "bob"


def evaluator(team: Team) -> str:
    promote(team.registry, team["sam"], ready(team).name, "production")
    return "eva"


@pytest.mark.parametrize("story", [submitter, approver, evaluator])
def test_theft_makes_void_what_the_key_let_in_and_is_no_fault(team: Team, story: Callable[[Team], str]) -> None:
    person = story(team)
    stolen(team, person)
    state = check_rebuilt(team.registry)
    assert not list(state.heads.items())
    assert state.generations[f"{NAME}@production"] == 1
    found = verify(team.registry)
    assert found.faults == []
    assert found.void
    assert all(state.ignored[place(int(told.split()[1]))].since == state.head.sequence for told in found.void)
    gone = "there is no adapter" if person == "sam" else "has no channel production any more"
    with team.registry.view() as view, pytest.raises(RegistryError, match=gone):
        resolve(view, PRODUCTION)
    if person == "bob":
        with team.registry.view() as view, pytest.raises(RegistryError, match="is revoked: bad"):
            resolve(view, f"{NAME}@2")


def test_number_and_generation_of_a_stolen_key_are_used_up(local: Team) -> None:
    source = local.another()
    first = add(local.registry, local["sam"], NAME, source).fact
    promote(local.registry, local["sam"], first.name, "staging")
    stolen(local, "sam")
    again = add(local.registry, local["ann"], NAME, source).fact
    assert (again.number, again.digest) == (2, first.digest)
    assert promote(local.registry, local["ann"], again.name, "staging").fact.generation == 2
    with local.registry.view() as state:
        assert (next_number(state, NAME), generation_of(state, NAME, "staging")) == (3, 2)
        with pytest.raises(RegistryError, match="it was released by a stolen key"):
            resolve(state, first.name)
    check_rebuilt(local.registry)


def test_what_rests_on_what_a_stolen_key_said_falls_with_it(local: Team) -> None:
    """A move by another key, on a stolen approval; a child of a stolen release stays, and its parent is missed."""
    parent = released(local)
    child = add(local.registry, local["ann"], NAME, local.another(), About(parent=parent.name)).fact
    release = ready(local)
    promote(local.registry, local["ann"], release.name, "production")
    stolen(local, "bob")
    state = check_rebuilt(local.registry)
    assert f"{NAME}@production" not in state.heads
    stolen(local, "sam")
    with local.registry.view() as state:
        assert (child.name in state.releases, parent.name in state.releases) == (True, False)
    with pytest.raises(RegistryError, match=r"its parent .* is not in the registry"):
        promote(local.registry, local["ann"], child.name, "staging")
    assert verify(local.registry).sound


def test_two_thefts_in_either_order_void_the_same(local: Team) -> None:
    ready(local)
    label(local.registry, local["sam"], NAME, {"a": "b"})
    stolen(local, "sam")
    stolen(local, "eva")
    state = check_rebuilt(local.registry)
    assert not list(state.releases.items())
    assert not list(state.evaluations.items())
    assert verify(local.registry).sound


def test_channel_goes_on_where_it_was_before_a_stolen_key_moved_it(local: Team) -> None:
    first, second = ready(local), ready(local)
    promote(local.registry, local["ann"], first.name, "production")
    promote(local.registry, local["sam"], second.name, "production")
    rollback(local.registry, local["bea"], PRODUCTION, "it misses")
    stolen(local, "bea")
    with local.registry.view() as state:
        assert resolve(state, PRODUCTION).name == second.name
    rollback(local.registry, local["ann"], PRODUCTION, "it does miss")
    with local.registry.view() as state:
        assert resolve(state, PRODUCTION).name == first.name
        assert generation_of(state, NAME, "production") == 4
    check_rebuilt(local.registry)


def test_what_had_no_effect_has_none_after_a_theft_either(local: Team) -> None:
    """A fault stays a fault, and does not come to life because what stood against it is void."""
    release = ready(local)
    with local.registry.view() as state:
        policy = policy_now(state).digest
    stricter = Policy(channels={"production": Rule(approvals=3), "*": Rule()})
    enrol(local.registry, local["ann"], "olga", _key(local), ("admin",), None)
    set_policy(local.registry, local.keys["olga"], stricter)
    move = {"channel": "production", "generation": 1, "how": "promotion", "policy": policy}
    where = rogue(local.registry, local["sam"], Moved.model_validate(release.identity | move))
    retire(local.registry, local["ann"], local.keys["olga"].public_key.keyid, "gone", stolen=True)
    with local.registry.view() as state:
        assert policy_now(state).digest == policy
        assert state.ignored[place(where)].since == where
        with pytest.raises(RegistryError, match="has no channel production"):
            resolve(state, PRODUCTION)
    check_rebuilt(local.registry)
    (fault,) = verify(local.registry).faults
    assert f"event {where} by sam has no effect" in fault


def test_key_that_a_stolen_key_enrolled_is_known_and_signs_until_it_is_retired(local: Team, tmp_path: Path) -> None:
    olga = make_key(tmp_path / "olga.pem")
    enrol(local.registry, local["ann"], "olga", public_path(tmp_path / "olga.pem"), ("admin",), None)
    pat = make_key(tmp_path / "pat.pem")
    enrol(local.registry, olga, "pat", public_path(tmp_path / "pat.pem"), ("submitter",), None)
    add(local.registry, pat, NAME, local.another())
    retire(local.registry, local["ann"], olga.public_key.keyid, "gone", stolen=True)
    with local.registry.view() as state:
        assert f"{NAME}@1" in state.releases
        assert state.identities[pat.public_key.keyid].by == olga.public_key.keyid
    retire(local.registry, local["ann"], pat.public_key.keyid, "by olga", stolen=True)
    with local.registry.view() as state:
        assert f"{NAME}@1" not in state.releases
    check_rebuilt(local.registry)


def test_thief_who_says_who_is_a_thief_takes_nothing_back(local: Team) -> None:
    """What a stolen key retired stays retired: who may sign is for administrators to say anew."""
    enrol(local.registry, local["ann"], "olga", _key(local), ("admin",), None)
    release = ready(local)
    promote(local.registry, local["ann"], release.name, "staging", glass=BreakGlass("x", timedelta(hours=1)))
    retire(local.registry, local.keys["olga"], local["bob"].public_key.keyid, "lies", stolen=True)
    retire(local.registry, local["ann"], local.keys["olga"].public_key.keyid, "gone", stolen=True)
    state = check_rebuilt(local.registry)
    assert state.identities[local["bob"].public_key.keyid].stolen
    assert not [event for events in state.approvals.values() for event in events]
    with local.registry.view() as view:
        assert resolve(view, f"{NAME}@staging").digest == release.digest


def _key(team: Team) -> Path:
    """olga's."""
    team.keys["olga"] = make_key(team.folder / "olga.pem")
    return public_path(team.folder / "olga.pem")


def test_release_of_a_stolen_key_is_not_in_the_way_of_its_bytes(local: Team) -> None:
    source = local.another()
    taken = add(local.registry, local["sam"], "x/a", source, About(labels={"mine": "yes"})).fact
    stolen(local, "sam")
    with local.registry.view() as state:
        assert "x/a" not in state.labels
        assert taken.digest not in state.by_digest or state.by_digest[taken.digest] == ()
    assert isinstance(add(local.registry, local["ann"], "x/a", source).fact, Released)
