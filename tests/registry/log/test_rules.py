"""The rules of channel updates: an unchecked event against them has no effect, and `verify` names it."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from worldtune.errors import RegistryError
from worldtune.registry import clock
from worldtune.registry.events.events import (
    ChannelUpdated,
    ReleaseAdded,
)  # fmt: skip
from worldtune.registry.governance.admin import set_expectation, set_policy
from worldtune.registry.governance.approval import approve, revoke_release, withdraw_approval
from worldtune.registry.governance.promotion import BreakGlass, promote, rollback
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.resolve import resolve
from worldtune.registry.log.rules import channel_generation
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import append_unchecked, forget_log, list_events
from ..prepared import (
    LATER,
    LAX_POLICY,
    PRODUCTION,
    attach_evidence,
    make_approved_release,
    make_promotion,
    make_release,
)


def given_until(team: Team, release: ReleaseAdded, valid_for: timedelta) -> None:
    approve(team.registry, team["bob"], release.name, "production", "good", valid_for)


def newest_evaluation_fails(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    release = make_approved_release(team)
    attach_evidence(team, release, outcome="fail")
    return "sam", make_promotion(team, release)


def there_is_no_evaluation(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    release = make_release(team)
    given_until(team, release, timedelta(days=1))
    return "sam", make_promotion(team, release)


def only_approval_was_withdrawn(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    release = make_approved_release(team)
    withdraw_approval(team.registry, team["bob"], release.name, "production", "no")
    return "sam", make_promotion(team, release)


def approval_expired(team: Team, patch: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    release = make_release(team)
    attach_evidence(team, release, expires=LATER)
    given_until(team, release, timedelta(hours=1))
    later = clock.utc_now() + timedelta(hours=2)
    patch.setattr(clock, "utc_now", lambda: later)
    return "sam", make_promotion(team, release)


def evidence_expired(team: Team, patch: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    release = make_approved_release(team)
    later = clock.utc_now() + timedelta(days=2)
    patch.setattr(clock, "utc_now", lambda: later)
    return "sam", make_promotion(team, release)


def calibration_is_another(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    release = make_approved_release(team, calibration="8" * 64)
    set_expectation(team.registry, team["ann"], "cell7", "calibration", "9" * 64, "the camera was moved")
    return "sam", make_promotion(team, release)


def approval_is_under_another_policy(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    release = make_approved_release(team)
    set_policy(
        team.registry,
        team["ann"],
        Policy(channels={"production": ChannelRule(approvals=1), "*": ChannelRule()}),
    )
    return "sam", make_promotion(team, release)


def policy_is_another(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    return "sam", make_promotion(team, make_release(team), policy=LAX_POLICY.digest)


def parent_is_revoked(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    parent = make_release(team)
    child = make_approved_release(team, parent=parent.name)
    revoke_release(team.registry, team["bob"], parent.name, "bad data")
    return "sam", make_promotion(team, child)


def release_is_revoked(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    release = make_approved_release(team)
    revoke_release(team.registry, team["bob"], release.name, "bad data")
    return "sam", make_promotion(team, release)


def break_glass_until_2099(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    until = {"action": "break-glass", "reason": "down", "expires": "2099-01-01T00:00:00.000000Z"}
    return "ann", make_promotion(team, make_release(team), **until)


def break_glass_without_end(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    return "ann", make_promotion(team, make_release(team), action="break-glass", reason="down")


def break_glass_by_a_submitter(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    until = {
        "action": "break-glass",
        "reason": "down",
        "expires": clock.format_time(clock.utc_now() + timedelta(hours=1)),
    }
    return "sam", make_promotion(team, make_release(team), **until)


def promotion_by_an_evaluator(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    return "eva", make_promotion(team, make_approved_release(team))


def generation_is_skipped(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    return "sam", make_promotion(team, make_approved_release(team), generation=7)


def digest_is_of_another_release(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    good = make_approved_release(team)
    return "sam", make_promotion(team, good, digest=make_release(team).digest)


def rolled_away_from(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    bad = make_approved_release(team)
    promote(team.registry, team["sam"], bad.name, "production")
    rollback(team.registry, team["bob"], PRODUCTION, "it misses")
    return "sam", make_promotion(team, bad, action="rollback", reason="mine is better")


def rollback_to_what_break_glass_let_in(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    odd = make_approved_release(team)
    attach_evidence(team, odd, outcome="fail")
    promote(
        team.registry,
        team["ann"],
        odd.name,
        "production",
        break_glass=BreakGlass("down", timedelta(hours=1)),
    )
    promote(team.registry, team["sam"], f"{NAME}@1", "production")
    return "sam", make_promotion(team, odd, action="rollback", reason="it was better")


def rollback_after_an_invalid_promotion(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    never = make_release(team)
    append_unchecked(team.registry, team["sam"], make_promotion(team, never))
    append_unchecked(team.registry, team["sam"], make_promotion(team, never, generation=3))
    return "sam", make_promotion(team, never, action="rollback", reason="it was there")


def rollback_without_a_reason(team: Team, _: pytest.MonkeyPatch) -> tuple[str, ChannelUpdated]:
    promote(team.registry, team["sam"], make_approved_release(team).name, "production")
    return "sam", make_promotion(team, list_events(team.registry, ReleaseAdded)[0].fact, action="rollback")


MOVES: list[tuple[Callable[[Team, pytest.MonkeyPatch], tuple[str, ChannelUpdated]], str]] = [
    (newest_evaluation_fails, "the gates say fail"),
    (there_is_no_evaluation, "there is no evaluation"),
    (only_approval_was_withdrawn, "bob withdrew it"),
    (approval_expired, "by bob: it expired on"),
    (evidence_expired, "evidence: it expired on"),
    (calibration_is_another, "calibration: the release has 888888888888, expected is 999999999999"),
    (approval_is_under_another_policy, "bob approved under another policy"),
    (policy_is_another, "the policy is"),
    (parent_is_revoked, "its ancestor cell7/front/pick@2 is revoked: bad data"),
    (release_is_revoked, "cell7/front/pick@2 is revoked: bad data"),
    (break_glass_until_2099, "break-glass lasts 7 days at most"),
    (break_glass_without_end, "break-glass needs a reason and an expiry"),
    (break_glass_by_a_submitter, "sam has the role submitter; this needs admin"),
    (promotion_by_an_evaluator, "eva has the role evaluator; this needs"),
    (generation_is_skipped, "the channel is at generation 1, so the next is not 7"),
    (digest_is_of_another_release, "there is no release cell7/front/pick@2 with digest"),
    (rolled_away_from, "rolled back: promote it again"),
    (rollback_to_what_break_glass_let_in, "2 is promoted by break-glass only"),
    (rollback_after_an_invalid_promotion, "the channel did not hold 2 before"),
    (rollback_without_a_reason, "a rollback needs a reason"),
]


@pytest.mark.parametrize(("case", "why"), MOVES)
def test_channel_update_against_the_policy_has_no_effect(
    local: Team, monkeypatch: pytest.MonkeyPatch, case: Callable[..., tuple[str, ChannelUpdated]], why: str
) -> None:
    first = make_approved_release(local)
    promote(local.registry, local["sam"], first.name, "production")
    person, fact = case(local, monkeypatch)
    with local.registry.view() as state:
        before = resolve(state, PRODUCTION).digest
        generation = channel_generation(state, NAME, "production")
    with pytest.raises(RegistryError) as refused, local.registry.writer(local[person]) as writer:
        writer.append(fact)
    assert why in refused.value.what
    place = append_unchecked(local.registry, local[person], fact)
    for _ in range(2):  # with what this machine verified before, and from the first event
        with local.registry.view() as state:
            assert resolve(state, PRODUCTION).digest == before
            assert channel_generation(state, NAME, "production") == generation
        forget_log(local.registry)
    named = [fault for fault in verify(local.registry).faults if f"event {place} by {person} has no effect" in fault]
    assert len(named) == 1
    assert why in named[0]
    third = make_release(local)
    attach_evidence(local, third, expires=LATER)
    given_until(local, third, timedelta(days=1))
    with local.registry.view() as state:
        evidence_is_asked = current_policy(state).rule_for("production").evidence
    if why.startswith("calibration"):
        set_expectation(local.registry, local["ann"], NAME, "calibration", third.digest, "none")
        return
    assert evidence_is_asked == (case is not approval_is_under_another_policy)
    assert promote(local.registry, local["sam"], third.name, "production").fact.generation == generation + 1


@pytest.mark.parametrize(("case", "why"), [MOVES[0], MOVES[10]])
def test_channel_update_against_the_policy_has_no_effect_on_postgresql(
    team: Team, monkeypatch: pytest.MonkeyPatch, case: Callable[..., tuple[str, ChannelUpdated]], why: str
) -> None:
    test_channel_update_against_the_policy_has_no_effect(team, monkeypatch, case, why)
