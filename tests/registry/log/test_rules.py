"""The rules: what somebody's own program appends past them has no effect, and is named by `verify`."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from worldtune.errors import RegistryError
from worldtune.registry import clock
from worldtune.registry.approval import approve, revoke, withdraw
from worldtune.registry.enrolment import expect, set_policy
from worldtune.registry.facts import (
    Moved,
    Released,
)  # fmt: skip
from worldtune.registry.log.rules import generation_of
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import BreakGlass, promote, rollback
from worldtune.registry.releases import resolve
from worldtune.registry.standing import policy_now
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import events_of, forget, rogue
from ..prepared import LATER, LAX, PRODUCTION, judged, move, ready, released


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
