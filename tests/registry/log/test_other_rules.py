"""The rules of all facts but moves: past them nothing has an effect, and `verify` names it."""

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.add import add
from worldtune.registry.approval import revoke, revoke_base
from worldtune.registry.enrolment import retire
from worldtune.registry.facts import (
    Approved,
    BaseRevoked,
    ClockSet,
    Derived,
    Enrolled,
    Evaluated,
    Expected,
    Fact,
    Founded,
    Labelled,
    PolicySet,
    Published,
    Retired,
    Revoked,
    Withdrawn,
)  # fmt: skip
from worldtune.registry.promotion import promote
from worldtune.registry.registry import policy_fact
from worldtune.registry.releases import resolve
from worldtune.registry.standing import policy_now
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import events_of, faults_of, forget, rogue
from ..prepared import LATER, LAX, PRODUCTION, judged, move, ready, released


def other_facts(team: Team) -> dict[str, tuple[str, Fact, str]]:
    """By name: whose program says what, and why not."""
    release, revoked = released(team), released(team)
    revoke(team.registry, team["bob"], revoked.name, "bad")
    revoke_base(team.registry, team["bob"], "7" * 64, "a fault")
    retire(team.registry, team["ann"], team["bea"].public_key.keyid, "left")
    of, zeros, key = release.identity, "0" * 64, team["sam"].public_key.keyid
    pem = next(one.fact.public for one in events_of(team.registry, Enrolled) if one.fact.person == "sam")
    approved = {"person": "bob", "channel": "production", "policy": zeros, "reason": "a", "expires": LATER}
    evaluated = {"base": release.base, "suite": zeros, "gates": zeros, "results": zeros, "candidate": "a"}
    fresh = {"number": 3, "digest": zeros}
    return {
        "a policy by a submitter": ("sam", policy_fact(LAX), "it takes admin"),
        "a policy of another digest": (
            "ann", PolicySet(policy=zeros, content=LAX.model_dump(mode="json")), "is not that of its digest",
        ),
        "a policy that is none": ("ann", PolicySet(policy=zeros, content={"channels": {}}), "says nothing of other"),
        "an expectation by an approver": (
            "bob", Expected(scope="*", what="base", digest=zeros, reason="a"), "it takes admin",
        ),
        "an expectation of no scope": (
            "ann", Expected(scope="A b", what="base", digest=zeros, reason="a"), "is no scope",
        ),
        "a key by a submitter": ("sam", Enrolled(person="sam", public=pem, roles=("admin",)), "it takes admin"),
        "a key that is enrolled": ("ann", Enrolled(person="eve", public=pem, roles=("admin",)), "already, as sam's"),
        "a key that is none": ("ann", Enrolled(person="eve", public="x", roles=("admin",)), ""),
        "a retirement by a submitter": ("sam", Retired(person="sam", key=key, reason="a"), "it takes admin"),
        "a retirement of nobody": ("ann", Retired(person="eve", key=key, reason="a"), "eve has no such key"),
        "a retirement of the last administrator": (
            "ann", Retired(person="ann", key=team["ann"].public_key.keyid, reason="a"), "nobody would be left",
        ),
        "another founding": (
            "ann", Founded(registry=team.registry.place.registry, person="ann", public=pem), "founded once",
        ),
        "a number that is taken": ("sam", release.model_copy(update={"digest": zeros}), "the next number"),
        "a number that is skipped": ("sam", release.model_copy(update=fresh | {"number": 9}), "the next number"),
        "the same bytes again": ("sam", release.model_copy(update={"number": 3}), "already"),
        "bytes that are revoked": (
            "sam", revoked.model_copy(update={"adapter": "other", "number": 1}), "these bytes are revoked",
        ),
        "a base that is revoked": ("sam", release.model_copy(update=fresh | {"base": "7" * 64}), "is revoked: a fault"),
        "a parent that is revoked": (
            "sam", release.model_copy(update=fresh | {"parent": revoked.digest}), "its parent",
        ),
        "a parent that it is": ("sam", release.model_copy(update=fresh | {"parent": zeros}), "cannot come from itself"),
        "a release in another name": ("sam", release.model_copy(update=fresh | {"author": "bob"}), "speaks for bob"),
        "a release by an approver": ("bob", release.model_copy(update=fresh | {"author": "bob"}), "it takes submitter"),
        "labels of nothing": ("sam", Labelled(adapter="none", labels={"a": "b"}), "there is no adapter none"),
        "labels by an approver": ("bob", Labelled(adapter=NAME, labels={"a": "b"}), "it takes submitter"),
        "an evaluation of another base": (
            "eva", Evaluated.model_validate(of | evaluated | {
                "person": "eva", "base": zeros, "outcome": "pass", "expires": LATER}), "of another base",
        ),
        "an evaluation by a submitter": (
            "sam", Evaluated.model_validate(of | evaluated | {"person": "sam", "outcome": "pass", "expires": LATER}),
            "it takes evaluator",
        ),
        "an evaluation in another name": (
            "eva", Evaluated.model_validate(of | evaluated | {"person": "bea", "outcome": "pass", "expires": LATER}),
            "eva speaks for bea",
        ),
        "an approval of what is revoked": ("bob", Approved(**revoked.identity, **approved), "is revoked"),
        "an approval by an evaluator": ("eva", Approved(**of, **(approved | {"person": "eva"})), "it takes approver"),
        "an approval by a retired key": ("bea", Approved(**of, **(approved | {"person": "bea"})), "was retired"),
        "a withdrawal of nothing": (
            "bob", Withdrawn(**of, channel="production", reason="a"), "did not approve it",
        ),
        "a revocation by a submitter": ("sam", Revoked(**of, reason="a"), "it takes approver"),
        "a revocation of nothing": (
            "bob", Revoked(adapter="none", number=1, digest=zeros, reason="a"), "there is no release none@1",
        ),
        "a revocation twice": ("bob", Revoked(**revoked.identity, reason="a"), "it is revoked already: bad"),
        "a base revoked by a submitter": ("sam", BaseRevoked(base=zeros, reason="a"), "it takes approver"),
        "a base revoked twice": ("bob", BaseRevoked(base="7" * 64, reason="a"), "it is revoked already: a fault"),
        "what came from nothing": (
            "sam", Derived(what="dataset", name="a", digest=zeros, sources=("1" * 64,)), "is no release",
        ),
        "a copy of what is revoked": (
            "sam", Published(**revoked.identity, where="hf:a", revision="b"), "is revoked",
        ),
        "a clock by a submitter": ("sam", ClockSet(ahead=LATER, reason="a"), "it takes admin"),
        "a clock that is not ahead": ("ann", ClockSet(ahead=LATER, reason="a"), "not ahead of this clock"),
    }  # fmt: skip


def test_fact_past_its_rule_has_no_effect(local: Team) -> None:
    """All in one log: after each the state is what it was, but for the place of its end and the list of those."""
    cases = other_facts(local)
    with local.registry.view() as state:
        before = state.dump()
    places = {}
    for name, (person, fact, _) in cases.items():
        places[name] = rogue(local.registry, local[person], fact)
    for _ in range(2):
        with local.registry.view() as state:
            after = state.dump()
        forget(local.registry)
        for changing in ("head", "ignored"):
            after.pop(changing)
            before.pop(changing, None)
        assert after == before
    faults = {int(fault.split()[1]): fault for fault in verify(local.registry).faults}
    assert sorted(faults) == sorted(places.values())
    for name, (_, _, why) in cases.items():
        assert why in faults[places[name]], name


def test_somebody_who_approves_what_they_made_does_not(local: Team) -> None:
    release = add(local.registry, local["ann"], NAME, local.another()).fact
    judged(local, release)
    with local.registry.view() as state:
        given = {"channel": "production", "policy": policy_now(state).digest, "reason": "a", "expires": LATER}
    retire(local.registry, local["ann"], local["sam"].public_key.keyid, "left")
    made_by_bob = release.model_copy(update={"number": 2, "digest": "1" * 64, "author": "bob"})
    rogue(local.registry, local["bob"], made_by_bob)
    rogue(local.registry, local["bob"], Approved(**made_by_bob.identity, **given, person="bob"))
    assert "there is no release cell7/front/pick@2" in faults_of(local)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("2020-01-01T00:00:00.000000Z", "it is older than the event before"),
        ("2026-13-45T99:00:00.000000Z", "its time is none"),
        ("later", "its time is none"),
        ("9999-99-99T00:00:00.000000Z", "its time is none"),
    ],
)
def test_event_of_no_time_or_an_earlier_one_has_no_effect(local: Team, at: str, why: str) -> None:
    release = ready(local)
    rogue(local.registry, local["sam"], move(local, release), at=at)
    with local.registry.view() as state, pytest.raises(RegistryError, match="has no channel production"):
        resolve(state, PRODUCTION)
    assert why in faults_of(local)
    promote(local.registry, local["sam"], release.name, "production")
