"""The rules: what somebody's own program appends past them has no effect, and is named by `verify`."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from worldtune.errors import RegistryError
from worldtune.registry import clock
from worldtune.registry.add import add
from worldtune.registry.approval import approve, revoke, revoke_base, withdraw
from worldtune.registry.enrolment import expect, retire, set_policy
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
    Moved,
    PolicySet,
    Published,
    Released,
    Retired,
    Revoked,
    Withdrawn,
)  # fmt: skip
from worldtune.registry.log.rules import generation_of
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import BreakGlass, promote, rollback
from worldtune.registry.registry import policy_fact
from worldtune.registry.releases import resolve
from worldtune.registry.standing import policy_now
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import events_of, faults_of, forget, rogue
from ..prepared import LATER, PRODUCTION, judged, ready, released

LAX = Policy(channels={"*": Rule()})


def move(team: Team, release: Released, **changed: Any) -> Moved:
    """A promotion to production as it would be right now."""
    with team.registry.view() as state:
        fields = release.identity | {
            "channel": "production", "generation": generation_of(state, release.adapter, "production") + 1,
            "how": "promotion", "policy": policy_now(state).digest,
        }  # fmt: skip
    return Moved.model_validate(fields | changed)


def given_until(team: Team, release: Released, lasts: timedelta) -> None:
    approve(team.registry, team["bob"], release.name, "production", "good", lasts)


def newest_evaluation_fails(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    release = ready(team)
    judged(team, release, outcome="fail")
    return "sam", move(team, release)


def there_is_no_evaluation(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    release = released(team)
    given_until(team, release, timedelta(days=1))
    return "sam", move(team, release)


def only_approval_was_withdrawn(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    release = ready(team)
    withdraw(team.registry, team["bob"], release.name, "production", "no")
    return "sam", move(team, release)


def approval_expired(team: Team, patch: pytest.MonkeyPatch) -> tuple[str, Moved]:
    release = released(team)
    judged(team, release, expires=LATER)
    given_until(team, release, timedelta(hours=1))
    later = clock.now() + timedelta(hours=2)
    patch.setattr(clock, "now", lambda: later)
    return "sam", move(team, release)


def evidence_expired(team: Team, patch: pytest.MonkeyPatch) -> tuple[str, Moved]:
    release = ready(team)
    later = clock.now() + timedelta(days=2)
    patch.setattr(clock, "now", lambda: later)
    return "sam", move(team, release)


def calibration_is_another(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    release = ready(team, calibration="8" * 64)
    expect(team.registry, team["ann"], "cell7", "calibration", "9" * 64, "the camera was moved")
    return "sam", move(team, release)


def approval_is_under_another_policy(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    release = ready(team)
    set_policy(team.registry, team["ann"], Policy(channels={"production": Rule(approvals=1), "*": Rule()}))
    return "sam", move(team, release)


def policy_is_another(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    return "sam", move(team, released(team), policy=LAX.digest)


def parent_is_revoked(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    parent = released(team)
    child = ready(team, parent=parent.name)
    revoke(team.registry, team["bob"], parent.name, "bad data")
    return "sam", move(team, child)


def release_is_revoked(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    release = ready(team)
    revoke(team.registry, team["bob"], release.name, "bad data")
    return "sam", move(team, release)


def break_glass_until_2099(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    until = {"how": "break-glass", "reason": "down", "expires": "2099-01-01T00:00:00.000000Z"}
    return "ann", move(team, released(team), **until)


def break_glass_without_end(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    return "ann", move(team, released(team), how="break-glass", reason="down")


def break_glass_by_a_submitter(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    until = {"how": "break-glass", "reason": "down", "expires": clock.text_of(clock.now() + timedelta(hours=1))}
    return "sam", move(team, released(team), **until)


def promotion_by_an_evaluator(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    return "eva", move(team, ready(team))


def generation_is_skipped(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    return "sam", move(team, ready(team), generation=7)


def digest_is_of_another_release(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    good = ready(team)
    return "sam", move(team, good, digest=released(team).digest)


def rolled_away_from(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    bad = ready(team)
    promote(team.registry, team["sam"], bad.name, "production")
    rollback(team.registry, team["bob"], PRODUCTION, "it misses")
    return "sam", move(team, bad, how="rollback", reason="mine is better")


def rollback_to_what_break_glass_let_in(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    odd = ready(team)
    judged(team, odd, outcome="fail")
    promote(team.registry, team["ann"], odd.name, "production", glass=BreakGlass("down", timedelta(hours=1)))
    promote(team.registry, team["sam"], f"{NAME}@1", "production")
    return "sam", move(team, odd, how="rollback", reason="it was better")


def rollback_after_an_invalid_promotion(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    never = released(team)
    rogue(team.registry, team["sam"], move(team, never))
    rogue(team.registry, team["sam"], move(team, never, generation=3))
    return "sam", move(team, never, how="rollback", reason="it was there")


def rollback_without_a_reason(team: Team, _: pytest.MonkeyPatch) -> tuple[str, Moved]:
    promote(team.registry, team["sam"], ready(team).name, "production")
    return "sam", move(team, events_of(team.registry, Released)[0].fact, how="rollback")


MOVES: list[tuple[Callable[[Team, pytest.MonkeyPatch], tuple[str, Moved]], str]] = [
    (newest_evaluation_fails, "the gates say fail"),
    (there_is_no_evaluation, "there is no evaluation"),
    (only_approval_was_withdrawn, "bob took it back"),
    (approval_expired, "that of bob: it expired on"),
    (evidence_expired, "evidence: it expired on"),
    (calibration_is_another, "calibration: it has 888888888888, and now 999999999999 is expected"),
    (approval_is_under_another_policy, "that of bob was under another policy"),
    (policy_is_another, "the policy is"),
    (parent_is_revoked, "it came from cell7/front/pick@2, which is revoked: bad data"),
    (release_is_revoked, "cell7/front/pick@2 is revoked: bad data"),
    (break_glass_until_2099, "break-glass lasts 7 days at most"),
    (break_glass_without_end, "break-glass has a reason and an end"),
    (break_glass_by_a_submitter, "sam is submitter, and it takes admin"),
    (promotion_by_an_evaluator, "eva is evaluator, and it takes"),
    (generation_is_skipped, "the channel is at generation 1: the next is not 7"),
    (digest_is_of_another_release, "there is no release cell7/front/pick@2 of"),
    (rolled_away_from, "one that was rolled away from: promote it again"),
    (rollback_to_what_break_glass_let_in, "2 is let in by break-glass only"),
    (rollback_after_an_invalid_promotion, "2 never was there before"),
    (rollback_without_a_reason, "a rollback has a reason"),
]


@pytest.mark.parametrize(("case", "why"), MOVES)
def test_move_past_the_policy_has_no_effect(
    local: Team, monkeypatch: pytest.MonkeyPatch, case: Callable[..., tuple[str, Moved]], why: str
) -> None:
    first = ready(local)
    promote(local.registry, local["sam"], first.name, "production")
    person, fact = case(local, monkeypatch)
    with local.registry.view() as state:
        before = resolve(state, PRODUCTION).digest
        generation = generation_of(state, NAME, "production")
    with pytest.raises(RegistryError) as refused, local.registry.writer(local[person]) as writer:
        writer.append(fact)
    assert why in refused.value.what
    place = rogue(local.registry, local[person], fact)
    for _ in range(2):  # with what this machine verified before, and from the first event
        with local.registry.view() as state:
            assert resolve(state, PRODUCTION).digest == before
            assert generation_of(state, NAME, "production") == generation
        forget(local.registry)
    named = [fault for fault in verify(local.registry).faults if f"event {place} by {person} has no effect" in fault]
    assert len(named) == 1
    assert why in named[0]
    third = released(local)
    judged(local, third, expires=LATER)
    given_until(local, third, timedelta(days=1))
    with local.registry.view() as state:
        evidence_is_asked = policy_now(state).rule("production").evidence
    if why.startswith("calibration"):
        expect(local.registry, local["ann"], NAME, "calibration", third.digest, "none")
        return
    assert evidence_is_asked == (case is not approval_is_under_another_policy)
    assert promote(local.registry, local["sam"], third.name, "production").fact.generation == generation + 1


@pytest.mark.parametrize(("case", "why"), [MOVES[0], MOVES[10]])
def test_move_past_the_policy_has_no_effect_on_postgresql_either(
    team: Team, monkeypatch: pytest.MonkeyPatch, case: Callable[..., tuple[str, Moved]], why: str
) -> None:
    test_move_past_the_policy_has_no_effect(team, monkeypatch, case, why)


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
