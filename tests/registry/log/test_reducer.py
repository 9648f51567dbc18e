"""The state is a function of the events: a stolen key's events are void, but its numbers are not reused."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.events.events import ChannelUpdated, ReleaseAdded
from worldtune.registry.governance.admin import enroll, retire_key, set_policy
from worldtune.registry.governance.approval import revoke_release, withdraw_approval
from worldtune.registry.governance.promotion import BreakGlass, promote, rollback
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.resolve import resolve
from worldtune.registry.log.rules import channel_generation, next_number
from worldtune.registry.log.state import State, sequence_key
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.registry import Registry
from worldtune.registry.releases.add import ReleaseMetadata, add_release
from worldtune.registry.releases.listing import update_labels
from worldtune.registry.signing.keys import generate_key, public_key_path
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import append_unchecked, forget_log, reduce_events
from ..prepared import PRODUCTION, make_approved_release, make_release


def stolen(team: Team, person: str) -> None:
    retire_key(team.registry, team["ann"], team[person].public_key.keyid, "it was in the bin", stolen=True)


def check_rebuilt(registry: Registry) -> State:
    """Check that the state is the same by following the log, by reading it all, and by reducing it in memory."""
    with registry.history() as (state, events):
        followed = state.dump()
        reduced = reduce_events(State(registry.config.registry, registry.config.founder), iter(events))
    assert reduced.dump() == followed
    forget_log(registry)
    with registry.view() as state:
        assert state.dump() == followed
    return reduced


def submitter(team: Team) -> str:
    first, second = make_approved_release(team), make_release(team)
    promote(team.registry, team["sam"], first.name, "production")
    update_labels(team.registry, team["sam"], NAME, {"a": "b"})
    promote(team.registry, team["sam"], second.name, "staging")
    return "sam"


def approver(team: Team) -> str:
    first = make_approved_release(team)
    promote(team.registry, team["sam"], first.name, "production")
    withdraw_approval(team.registry, team["bob"], first.name, "production", "no")
    revoke_release(team.registry, team["bob"], make_release(team).name, "bad")
    return "bob"


def evaluator(team: Team) -> str:
    promote(team.registry, team["sam"], make_approved_release(team).name, "production")
    return "eva"


@pytest.mark.parametrize("story", [submitter, approver, evaluator])
def test_theft_voids_what_the_key_let_in(team: Team, story: Callable[[Team], str]) -> None:
    person = story(team)
    stolen(team, person)
    state = check_rebuilt(team.registry)
    assert not list(state.heads.items())
    assert state.generations[f"{NAME}@production"] == 1
    found = verify(team.registry)
    assert found.faults == []
    assert found.voided
    assert all(state.ignored[sequence_key(int(line.split()[1]))].since == state.head.sequence for line in found.voided)
    gone = "there is no adapter" if person == "sam" else "no longer has the channel production"
    with team.registry.view() as view, pytest.raises(RegistryError, match=gone):
        resolve(view, PRODUCTION)
    if person == "bob":
        with team.registry.view() as view, pytest.raises(RegistryError, match="is revoked: bad"):
            resolve(view, f"{NAME}@2")


def test_number_and_generation_of_a_stolen_key_are_not_reused(local: Team) -> None:
    source = local.another()
    first = add_release(local.registry, local["sam"], NAME, source).fact
    promote(local.registry, local["sam"], first.name, "staging")
    stolen(local, "sam")
    again = add_release(local.registry, local["ann"], NAME, source).fact
    assert (again.number, again.digest) == (2, first.digest)
    assert promote(local.registry, local["ann"], again.name, "staging").fact.generation == 2
    with local.registry.view() as state:
        assert (next_number(state, NAME), channel_generation(state, NAME, "staging")) == (3, 2)
        with pytest.raises(RegistryError, match="the release was signed by a stolen key"):
            resolve(state, first.name)
    check_rebuilt(local.registry)


def test_theft_voids_dependent_events(local: Team) -> None:
    """A promotion based on a stolen approval is void. A child of a stolen release stays, but lacks its parent."""
    parent = make_release(local)
    child = add_release(local.registry, local["ann"], NAME, local.another(), ReleaseMetadata(parent=parent.name)).fact
    release = make_approved_release(local)
    promote(local.registry, local["ann"], release.name, "production")
    stolen(local, "bob")
    state = check_rebuilt(local.registry)
    assert f"{NAME}@production" not in state.heads
    stolen(local, "sam")
    with local.registry.view() as state:
        assert (child.name in state.releases, parent.name in state.releases) == (True, False)
    with pytest.raises(RegistryError, match=r"its parent .* is not in the registry"):
        promote(local.registry, local["ann"], child.name, "staging")
    assert verify(local.registry).is_valid


def test_two_thefts_void_both_keys(local: Team) -> None:
    make_approved_release(local)
    update_labels(local.registry, local["sam"], NAME, {"a": "b"})
    stolen(local, "sam")
    stolen(local, "eva")
    state = check_rebuilt(local.registry)
    assert not list(state.releases.items())
    assert not list(state.evaluations.items())
    assert verify(local.registry).is_valid


def test_channel_reverts_the_rollback_of_a_stolen_key(local: Team) -> None:
    first, second = make_approved_release(local), make_approved_release(local)
    promote(local.registry, local["ann"], first.name, "production")
    promote(local.registry, local["sam"], second.name, "production")
    rollback(local.registry, local["bea"], PRODUCTION, "it misses")
    stolen(local, "bea")
    with local.registry.view() as state:
        assert resolve(state, PRODUCTION).name == second.name
    rollback(local.registry, local["ann"], PRODUCTION, "it does miss")
    with local.registry.view() as state:
        assert resolve(state, PRODUCTION).name == first.name
        assert channel_generation(state, NAME, "production") == 4
    check_rebuilt(local.registry)


def test_theft_does_not_revive_an_event_without_effect(local: Team) -> None:
    """A faulty event does not become valid when the event that it violated is void."""
    release = make_approved_release(local)
    with local.registry.view() as state:
        policy = current_policy(state).digest
    stricter = Policy(channels={"production": ChannelRule(approvals=3), "*": ChannelRule()})
    enroll(local.registry, local["ann"], "olga", _key(local), ("admin",), None)
    set_policy(local.registry, local.keys["olga"], stricter)
    move = {"channel": "production", "generation": 1, "action": "promotion", "policy": policy}
    where = append_unchecked(local.registry, local["sam"], ChannelUpdated.model_validate(release.identity | move))
    retire_key(local.registry, local["ann"], local.keys["olga"].public_key.keyid, "gone", stolen=True)
    with local.registry.view() as state:
        assert current_policy(state).digest == policy
        assert state.ignored[sequence_key(where)].since == where
        with pytest.raises(RegistryError, match="has no channel production"):
            resolve(state, PRODUCTION)
    check_rebuilt(local.registry)
    (fault,) = verify(local.registry).faults
    assert f"event {where} by sam has no effect" in fault


def test_key_enrolled_by_a_stolen_key_signs_until_retired(local: Team, tmp_path: Path) -> None:
    olga = generate_key(tmp_path / "olga.pem")
    enroll(local.registry, local["ann"], "olga", public_key_path(tmp_path / "olga.pem"), ("admin",), None)
    pat = generate_key(tmp_path / "pat.pem")
    enroll(local.registry, olga, "pat", public_key_path(tmp_path / "pat.pem"), ("submitter",), None)
    add_release(local.registry, pat, NAME, local.another())
    retire_key(local.registry, local["ann"], olga.public_key.keyid, "gone", stolen=True)
    with local.registry.view() as state:
        assert f"{NAME}@1" in state.releases
        assert state.identities[pat.public_key.keyid].added_by == olga.public_key.keyid
    retire_key(local.registry, local["ann"], pat.public_key.keyid, "by olga", stolen=True)
    with local.registry.view() as state:
        assert f"{NAME}@1" not in state.releases
    check_rebuilt(local.registry)


def test_key_retired_by_a_stolen_key_stays_retired(local: Team) -> None:
    """A key that a stolen key retired stays retired; an administrator must enroll a new one."""
    enroll(local.registry, local["ann"], "olga", _key(local), ("admin",), None)
    release = make_approved_release(local)
    promote(local.registry, local["ann"], release.name, "staging", break_glass=BreakGlass("x", timedelta(hours=1)))
    retire_key(local.registry, local.keys["olga"], local["bob"].public_key.keyid, "lies", stolen=True)
    retire_key(local.registry, local["ann"], local.keys["olga"].public_key.keyid, "gone", stolen=True)
    state = check_rebuilt(local.registry)
    assert state.identities[local["bob"].public_key.keyid].stolen
    assert not [event for events in state.approvals.values() for event in events]
    with local.registry.view() as view:
        assert resolve(view, f"{NAME}@staging").digest == release.digest


def _key(team: Team) -> Path:
    """Generate olga's key and return its public half."""
    team.keys["olga"] = generate_key(team.folder / "olga.pem")
    return public_key_path(team.folder / "olga.pem")


def test_bytes_of_a_stolen_keys_release_can_be_added_again(local: Team) -> None:
    source = local.another()
    taken = add_release(local.registry, local["sam"], "x/a", source, ReleaseMetadata(labels={"mine": "yes"})).fact
    stolen(local, "sam")
    with local.registry.view() as state:
        assert "x/a" not in state.labels
        assert state.names_by_digest.get(taken.digest) is None
    assert isinstance(add_release(local.registry, local["ann"], "x/a", source).fact, ReleaseAdded)
