"""The rules of all other events: an unchecked event against them has no effect, and `verify` names it."""

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.events.events import (
    ApprovalWithdrawn,
    ArtifactDerived,
    BaseRevoked,
    ClockSet,
    ExpectationSet,
    Fact,
    KeyAdded,
    KeyRetired,
    Labeled,
    PolicySet,
    RegistryCreated,
    ReleaseApproved,
    ReleaseEvaluated,
    ReleasePublished,
    ReleaseRevoked,
)  # fmt: skip
from worldtune.registry.governance.admin import retire_key
from worldtune.registry.governance.approval import revoke_base, revoke_release
from worldtune.registry.governance.promotion import promote
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.resolve import resolve
from worldtune.registry.registry import make_policy_fact
from worldtune.registry.releases.add import add_release
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import append_unchecked, find_faults, forget_log, list_events
from ..prepared import (
    LATER,
    LAX_POLICY,
    PRODUCTION,
    attach_evidence,
    make_approved_release,
    make_promotion,
    make_release,
)


def other_facts(team: Team) -> dict[str, tuple[str, Fact, str]]:
    """Return the cases by name: the signer, the event, and a part of the reason why it has no effect."""
    release, revoked = make_release(team), make_release(team)
    revoke_release(team.registry, team["bob"], revoked.name, "bad")
    revoke_base(team.registry, team["bob"], "7" * 64, "a fault")
    retire_key(team.registry, team["ann"], team["bea"].public_key.keyid, "left")
    of, zeros, key = release.identity, "0" * 64, team["sam"].public_key.keyid
    pem = next(event.fact.public for event in list_events(team.registry, KeyAdded) if event.fact.person == "sam")
    approved = {"person": "bob", "channel": "production", "policy": zeros, "reason": "a", "expires": LATER}
    evaluated = {"base": release.base, "suite": zeros, "gates": zeros, "results": zeros, "candidate": "a"}
    fresh = {"number": 3, "digest": zeros}
    return {
        "a policy by a submitter": ("sam", make_policy_fact(LAX_POLICY), "this needs admin"),
        "a policy of another digest": (
            "ann", PolicySet(policy=zeros, content=LAX_POLICY.model_dump(mode="json")), "does not match its digest",
        ),
        "an invalid policy": ("ann", PolicySet(policy=zeros, content={"channels": {}}), "has no rule for other"),
        "an expectation by an approver": (
            "bob", ExpectationSet(scope="*", requirement="base", digest=zeros, reason="a"), "this needs admin",
        ),
        "an expectation with an invalid scope": (
            "ann", ExpectationSet(scope="A b", requirement="base", digest=zeros, reason="a"), "is not a scope",
        ),
        "a key by a submitter": ("sam", KeyAdded(person="sam", public=pem, roles=("admin",)), "this needs admin"),
        "a key that is enrolled": ("ann", KeyAdded(person="eve", public=pem, roles=("admin",)), "enrolled for sam"),
        "an invalid key": ("ann", KeyAdded(person="eve", public="x", roles=("admin",)), ""),
        "a retirement by a submitter": ("sam", KeyRetired(person="sam", key=key, reason="a"), "this needs admin"),
        "a retirement of an unknown key": ("ann", KeyRetired(person="eve", key=key, reason="a"), "eve has no such key"),
        "a retirement of the last administrator": (
            "ann", KeyRetired(person="ann", key=team["ann"].public_key.keyid, reason="a"),
            "would have no administrator left",
        ),
        "a second creation": (
            "ann", RegistryCreated(registry=team.registry.config.registry, person="ann", public=pem),
            "created once",
        ),
        "a number that is taken": ("sam", release.model_copy(update={"digest": zeros}), "the next number"),
        "a number that is skipped": ("sam", release.model_copy(update=fresh | {"number": 9}), "the next number"),
        "the same bytes again": ("sam", release.model_copy(update={"number": 3}), "already"),
        "bytes that are revoked": (
            "sam", revoked.model_copy(update={"adapter": "other", "number": 1}), "these bytes were revoked",
        ),
        "a base that is revoked": ("sam", release.model_copy(update=fresh | {"base": "7" * 64}), "is revoked: a fault"),
        "a parent that is revoked": (
            "sam", release.model_copy(update=fresh | {"parent": revoked.digest}), "its parent",
        ),
        "itself as its parent": ("sam", release.model_copy(update=fresh | {"parent": zeros}), "be its own parent"),
        "a release in another name": ("sam", release.model_copy(update=fresh | {"author": "bob"}), "sign for bob"),
        "a release by an approver": ("bob", release.model_copy(update=fresh | {"author": "bob"}), "needs submitter"),
        "labels of an unknown adapter": ("sam", Labeled(adapter="none", labels={"a": "b"}), "there is no adapter none"),
        "labels by an approver": ("bob", Labeled(adapter=NAME, labels={"a": "b"}), "this needs submitter"),
        "an evaluation of another base": (
            "eva", ReleaseEvaluated.model_validate(of | evaluated | {
                "person": "eva", "base": zeros, "outcome": "pass", "expires": LATER}), "used another base",
        ),
        "an evaluation by a submitter": (
            "sam",
            ReleaseEvaluated.model_validate(of | evaluated | {"person": "sam", "outcome": "pass", "expires": LATER}),
            "this needs evaluator",
        ),
        "an evaluation in another name": (
            "eva",
            ReleaseEvaluated.model_validate(of | evaluated | {"person": "bea", "outcome": "pass", "expires": LATER}),
            "eva cannot sign for bea",
        ),
        "an approval of a revoked release": ("bob", ReleaseApproved(**revoked.identity, **approved), "is revoked"),
        "an approval by an evaluator": (
            "eva", ReleaseApproved(**of, **(approved | {"person": "eva"})), "this needs approver",
        ),
        "an approval by a retired key": ("bea", ReleaseApproved(**of, **(approved | {"person": "bea"})), "was retired"),
        "a withdrawal without an approval": (
            "bob", ApprovalWithdrawn(**of, channel="production", reason="a"), "did not approve it",
        ),
        "a revocation by a submitter": ("sam", ReleaseRevoked(**of, reason="a"), "this needs approver"),
        "a revocation of an unknown release": (
            "bob", ReleaseRevoked(adapter="none", number=1, digest=zeros, reason="a"), "there is no release none@1",
        ),
        "a revocation twice": ("bob", ReleaseRevoked(**revoked.identity, reason="a"), "it is already revoked: bad"),
        "a base revoked by a submitter": ("sam", BaseRevoked(base=zeros, reason="a"), "this needs approver"),
        "a base revoked twice": ("bob", BaseRevoked(base="7" * 64, reason="a"), "it is already revoked: a fault"),
        "derived data without a source": (
            "sam", ArtifactDerived(artifact="dataset", name="a", digest=zeros, sources=("1" * 64,)),
            "is neither a release",
        ),
        "a copy of a revoked release": (
            "sam", ReleasePublished(**revoked.identity, location="hf:a", revision="b"), "is revoked",
        ),
        "a clock by a submitter": ("sam", ClockSet(previous_time=LATER, reason="a"), "this needs admin"),
        "a clock that is not ahead": ("ann", ClockSet(previous_time=LATER, reason="a"), "not ahead of this clock"),
    }  # fmt: skip


def test_event_against_the_rules_has_no_effect(local: Team) -> None:
    """All cases are in one log. They change only the head and the list of ignored events."""
    cases = other_facts(local)
    with local.registry.view() as state:
        before = state.dump()
    places = {}
    for name, (person, fact, _) in cases.items():
        places[name] = append_unchecked(local.registry, local[person], fact)
    for _ in range(2):
        with local.registry.view() as state:
            after = state.dump()
        forget_log(local.registry)
        for changing in ("head", "ignored"):
            after.pop(changing)
            before.pop(changing, None)
        assert after == before
    faults = {int(fault.split()[1]): fault for fault in verify(local.registry).faults}
    assert sorted(faults) == sorted(places.values())
    for name, (_, _, why) in cases.items():
        assert why in faults[places[name]], name


def test_approval_of_an_own_unchecked_release_has_no_effect(local: Team) -> None:
    release = add_release(local.registry, local["ann"], NAME, local.another()).fact
    attach_evidence(local, release)
    with local.registry.view() as state:
        given = {"channel": "production", "policy": current_policy(state).digest, "reason": "a", "expires": LATER}
    retire_key(local.registry, local["ann"], local["sam"].public_key.keyid, "left")
    made_by_bob = release.model_copy(update={"number": 2, "digest": "1" * 64, "author": "bob"})
    append_unchecked(local.registry, local["bob"], made_by_bob)
    append_unchecked(local.registry, local["bob"], ReleaseApproved(**made_by_bob.identity, **given, person="bob"))
    assert "there is no release cell7/front/pick@2" in find_faults(local)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        ("2020-01-01T00:00:00.000000Z", "the event is older than the event before"),
        ("2026-13-45T99:00:00.000000Z", "the event's time is not valid"),
        ("later", "the event's time is not valid"),
        ("9999-99-99T00:00:00.000000Z", "the event's time is not valid"),
    ],
)
def test_event_with_an_invalid_or_earlier_time_has_no_effect(local: Team, at: str, why: str) -> None:
    release = make_approved_release(local)
    append_unchecked(local.registry, local["sam"], make_promotion(local, release), at=at)
    with local.registry.view() as state, pytest.raises(RegistryError, match="has no channel production"):
        resolve(state, PRODUCTION)
    assert why in find_faults(local)
    promote(local.registry, local["sam"], release.name, "production")
