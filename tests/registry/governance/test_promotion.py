"""Promotion, rollback, break-glass: who may, on what evidence, and exactly once."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from worldtune.core.files import digest_bytes
from worldtune.errors import BusyError, RegistryError, TamperError
from worldtune.registry import clock
from worldtune.registry.events.events import ReleaseApproved, ReleaseEvaluated
from worldtune.registry.governance.admin import set_clock, set_expectation, set_policy
from worldtune.registry.governance.approval import approve, revoke_release, withdraw_approval
from worldtune.registry.governance.promotion import BreakGlass, promote, rollback
from worldtune.registry.log.release_status import release_status
from worldtune.registry.log.resolve import channel_head, resolve
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.releases.add import ReleaseMetadata, add_release
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import list_events
from ..prepared import PRODUCTION, attach_evidence, make_approved_release


def test_evaluated_and_approved_release_is_promoted(team: Team) -> None:
    release = make_approved_release(team)
    event = promote(team.registry, team["sam"], release.name, "production")
    assert (event.fact.generation, event.fact.action) == (1, "promotion")
    with team.registry.view() as state:
        move = channel_head(state, NAME, "production")
        assert move is not None
        assert move.event == event
        assert move.evidence == list_events(team.registry, ReleaseEvaluated)[0].hash
        assert move.approvals == (list_events(team.registry, ReleaseApproved)[0].hash,)
        for text in (
            PRODUCTION,
            f"{NAME}@1",
            f"{NAME}@sha256:{release.digest}",
            f"{NAME}@sha256:{release.digest[:12]}",
        ):
            assert resolve(state, text).release.fact == release
    assert verify(team.registry).faults == []


def test_error_lists_everything_that_is_missing(team: Team) -> None:
    release = add_release(team.registry, team["sam"], NAME, team.another()).fact
    with pytest.raises(RegistryError) as error:
        promote(team.registry, team["sam"], release.name, "production")
    assert error.value.what == (
        "the release may not be promoted to production: evidence: there is no evaluation; "
        "approvals: 0 of 1 by people other than the author"
    )
    assert promote(team.registry, team["sam"], release.name, "staging").fact.generation == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"outcome": "fail"}, "evidence: the gates say fail"),
        ({"outcome": "not enough evidence"}, "evidence: the gates say not enough evidence"),
        ({"expires": "2020-01-01T00:00:00.000000Z"}, "evidence: it expired on 2020-01-01"),
    ],
)
def test_failed_or_expired_evidence_does_not_count(team: Team, changed: dict[str, Any], why: str) -> None:
    release = add_release(team.registry, team["sam"], NAME, team.another()).fact
    approve(team.registry, team["bob"], release.name, "production", "good")
    attach_evidence(team, release, **changed)
    with pytest.raises(RegistryError, match=why):
        promote(team.registry, team["sam"], release.name, "production")


def test_evidence_of_another_base_is_rejected(team: Team) -> None:
    release = add_release(team.registry, team["sam"], NAME, team.another()).fact
    with pytest.raises(RegistryError, match="base: the evaluation used another base"):
        attach_evidence(team, release, base="7" * 64)


def test_newest_evaluation_decides(team: Team) -> None:
    release = make_approved_release(team)
    attach_evidence(team, release, outcome="fail")
    with pytest.raises(RegistryError, match="the gates say fail"):
        promote(team.registry, team["sam"], release.name, "production")


def test_evidence_of_other_bytes_does_not_count(team: Team) -> None:
    release = make_approved_release(team)
    other = add_release(team.registry, team["sam"], NAME, team.another()).fact
    approve(team.registry, team["bob"], other.name, "production", "good")
    assert other.digest != release.digest
    with pytest.raises(RegistryError, match="there is no evaluation"):
        promote(team.registry, team["sam"], other.name, "production")


def test_author_cannot_approve_and_two_keys_count_once(team: Team) -> None:
    release = add_release(team.registry, team["ann"], NAME, team.another()).fact
    attach_evidence(team, release)
    with pytest.raises(RegistryError, match="ann made it and cannot approve it"):
        approve(team.registry, team["ann"], release.name, "production", "mine")
    set_policy(
        team.registry,
        team["ann"],
        Policy(channels={"production": ChannelRule(approvals=2), "*": ChannelRule()}),
    )
    for _ in range(2):
        approve(team.registry, team["bob"], release.name, "production", "good")
    with pytest.raises(RegistryError, match="approvals: 1 of 2"):
        promote(team.registry, team["ann"], release.name, "production")
    approve(team.registry, team["bea"], release.name, "production", "good")
    promote(team.registry, team["ann"], release.name, "production")
    with team.registry.view() as state:
        move = channel_head(state, NAME, "production")
        assert move is not None
        assert len(move.approvals) == 2


def test_withdrawn_approval_does_not_count(team: Team) -> None:
    release = make_approved_release(team)
    withdraw_approval(team.registry, team["bob"], release.name, "production", "I looked again")
    with pytest.raises(RegistryError, match="bob withdrew it"):
        promote(team.registry, team["sam"], release.name, "production")
    approve(team.registry, team["bob"], release.name, "production", "and again")
    promote(team.registry, team["sam"], release.name, "production")
    with pytest.raises(RegistryError, match="bea did not approve it for production"):
        withdraw_approval(team.registry, team["bea"], release.name, "production", "no")


def test_approval_under_an_old_policy_does_not_count(team: Team) -> None:
    release = make_approved_release(team)
    set_policy(
        team.registry,
        team["ann"],
        Policy(channels={"production": ChannelRule(approvals=1), "*": ChannelRule()}),
    )
    with pytest.raises(RegistryError, match="bob approved under another policy"):
        promote(team.registry, team["sam"], release.name, "production")


@pytest.mark.parametrize("what", ["base", "suite", "gates", "calibration"])
def test_changed_expectation_makes_a_release_stale(team: Team, what: str) -> None:
    release = make_approved_release(team, calibration="8" * 64)
    set_expectation(team.registry, team["ann"], "cell7", what, "9" * 64, "it changed")
    with pytest.raises(RegistryError, match=f"{what}: .*expected is"):
        promote(team.registry, team["sam"], release.name, "production")


def test_longest_scope_wins(team: Team) -> None:
    release = make_approved_release(team, calibration="8" * 64)
    set_expectation(team.registry, team["ann"], "cell7/front", "calibration", "8" * 64, "this camera")
    set_expectation(team.registry, team["ann"], "cell7", "calibration", "9" * 64, "the others")
    set_expectation(
        team.registry,
        team["ann"],
        "cell7/fro",
        "calibration",
        "9" * 64,
        "another cell, whose name begins so",
    )
    promote(team.registry, team["sam"], release.name, "production")


def test_promotion_from_an_old_generation_is_rejected(team: Team) -> None:
    first, second = make_approved_release(team), make_approved_release(team)
    promote(team.registry, team["sam"], first.name, "production", generation=0)
    with pytest.raises(BusyError, match="at generation 1, not 0"):
        promote(team.registry, team["sam"], second.name, "production", generation=0)
    assert promote(team.registry, team["sam"], second.name, "production", generation=1).fact.generation == 2


def test_revoked_release_and_descendants_cannot_be_promoted(team: Team) -> None:
    parent = make_approved_release(team)
    child = make_approved_release(team, parent=parent.name)
    grandchild = make_approved_release(team, parent=child.name)
    revoke_release(team.registry, team["bob"], parent.name, "bad data")
    for release in (parent, child, grandchild):
        with pytest.raises(RegistryError, match="bad data"):
            promote(team.registry, team["sam"], release.name, "production")
        with pytest.raises(RegistryError, match="bad data"):
            approve(team.registry, team["bea"], release.name, "production", "still")
    with pytest.raises(RegistryError, match=r"its parent .* is revoked"):
        add_release(team.registry, team["sam"], NAME, team.another(), ReleaseMetadata(parent=parent.name))


def test_revoked_release_does_not_resolve(team: Team) -> None:
    release = make_approved_release(team)
    promote(team.registry, team["sam"], release.name, "production")
    revoke_release(team.registry, team["bob"], release.name, "it drops the cube")
    with team.registry.view() as state:
        for text in (PRODUCTION, release.name, f"{NAME}@sha256:{release.digest}"):
            with pytest.raises(RegistryError, match="is revoked: it drops the cube"):
                resolve(state, text)
    with pytest.raises(RegistryError, match="already revoked"):
        revoke_release(team.registry, team["bob"], release.name, "again")


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "adapter.json"])
def test_promotion_names_changed_bytes(team: Team, name: str) -> None:
    release = make_approved_release(team)
    blob = Path(team.registry.store.path(release.card if name == "adapter.json" else release.weights))
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(TamperError, match=f"the bytes of {name} were changed"):
        promote(team.registry, team["sam"], release.name, "production")


class TestRollback:
    def test_rollback_goes_to_the_newest_allowed_release(self, team: Team) -> None:
        first, second, third = (make_approved_release(team) for _ in range(3))
        for release in (first, second, third):
            promote(team.registry, team["sam"], release.name, "production")
        move, _ = rollback(team.registry, team["bob"], PRODUCTION, "it misses")
        assert (move.fact.number, move.fact.generation, move.fact.action) == (second.number, 4, "rollback")
        revoke_release(team.registry, team["bob"], second.name, "bad")
        move, _ = rollback(team.registry, team["bob"], PRODUCTION, "that one too", generation=4)
        assert move.fact.number == first.number, "not the one that was rolled back"
        with pytest.raises(RegistryError, match="the channel held no other release before"):
            rollback(team.registry, team["bob"], PRODUCTION, "and again")
        with pytest.raises(RegistryError, match="3 is rolled back: promote it again"):
            rollback(team.registry, team["bob"], PRODUCTION, "it was not that", to=third.number)
        assert promote(team.registry, team["sam"], third.name, "production").fact.generation == 6
        with pytest.raises(BusyError, match="at generation 6, not 4"):
            rollback(team.registry, team["bob"], PRODUCTION, "late", generation=4)
        assert verify(team.registry).is_valid

    def test_rollback_rejects_a_release_without_approval(self, team: Team) -> None:
        first, second = make_approved_release(team), make_approved_release(team)
        for release in (first, second):
            promote(team.registry, team["sam"], release.name, "production")
        withdraw_approval(team.registry, team["bob"], first.name, "production", "no")
        with pytest.raises(RegistryError, match="1 is no longer approved"):
            rollback(team.registry, team["bob"], PRODUCTION, "it misses")
        with pytest.raises(RegistryError, match="the channel did not hold 9 before"):
            rollback(team.registry, team["bob"], PRODUCTION, "it misses", to=9)

    def test_rollback_ignores_evidence_and_reports_stale_parts(self, team: Team) -> None:
        first, second = make_approved_release(team), make_approved_release(team)
        for release in (first, second):
            promote(team.registry, team["sam"], release.name, "production")
        attach_evidence(team, first, outcome="fail")
        set_expectation(team.registry, team["ann"], NAME, "base", "9" * 64, "a new base")
        move, now = rollback(team.registry, team["bob"], PRODUCTION, "it misses")
        assert move.fact.number == first.number
        assert any(reason.startswith("base: ") for reason in now.stale)


class TestBreakGlass:
    def test_break_glass_promotes_until_it_expires(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        release = add_release(team.registry, team["sam"], NAME, team.another()).fact
        break_glass = BreakGlass("line 3 is down", timedelta(hours=8))
        with pytest.raises(RegistryError, match="sam has the role submitter; this needs admin"):
            promote(team.registry, team["sam"], release.name, "production", break_glass=break_glass)
        move = promote(team.registry, team["ann"], release.name, "production", break_glass=break_glass).fact
        assert (move.action, move.reason) == ("break-glass", "line 3 is down")
        assert "BREAK-GLASS" in move.summary
        with team.registry.view() as state:
            (warning,) = resolve(state, PRODUCTION).warnings
            assert warning.startswith(f"BREAK-GLASS: {PRODUCTION} is {release.name} without approval until ")
        later = clock.utc_now() + timedelta(hours=9)
        monkeypatch.setattr(clock, "utc_now", lambda: later)
        with team.registry.view() as state, pytest.raises(RegistryError, match="has expired"):
            resolve(state, PRODUCTION)

    def test_break_glass_rejects_a_revoked_release(self, team: Team) -> None:
        release = add_release(team.registry, team["sam"], NAME, team.another()).fact
        revoke_release(team.registry, team["bob"], release.name, "bad")
        with pytest.raises(RegistryError, match="is revoked"):
            promote(
                team.registry,
                team["ann"],
                release.name,
                "production",
                break_glass=BreakGlass("x", timedelta(hours=1)),
            )
        with team.registry.view() as state:
            assert channel_head(state, NAME, "production") is None


def test_results_digest_matches_the_stored_results(team: Team) -> None:
    release = make_approved_release(team)
    (event,) = list_events(team.registry, ReleaseEvaluated)
    assert event.fact.digest == release.digest
    assert digest_bytes(team.registry.store.read(event.fact.results)) == event.fact.results


def test_statements_dated_by_a_clock_ahead_do_not_count(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    real = clock.utc_now()
    with monkeypatch.context() as wrong:
        wrong.setattr(clock, "utc_now", lambda: real + timedelta(days=300))
        release = make_approved_release(team)
        promote(
            team.registry,
            team["ann"],
            release.name,
            "production",
            break_glass=BreakGlass("down", timedelta(hours=8)),
        )
    set_clock(team.registry, team["ann"], "it was September")
    with team.registry.view() as state, pytest.raises(RegistryError, match="or its clock was ahead"):
        resolve(state, PRODUCTION)
    with pytest.raises(RegistryError) as error:
        promote(team.registry, team["sam"], release.name, "production")
    assert error.value.what.count("its date is from a clock that was ahead") == 2
    with monkeypatch.context() as later, team.registry.view() as state:  # nor when that time has come
        later.setattr(clock, "utc_now", lambda: real + timedelta(days=300, hours=1))
        with pytest.raises(RegistryError, match="or its clock was ahead"):
            resolve(state, PRODUCTION)
        assert (
            "evidence: its date is from a clock that was ahead"
            in release_status(state, release, "production", clock.current_time()).not_counted
        )
    attach_evidence(team, release)
    approve(team.registry, team["bob"], release.name, "production", "still good")
    promote(team.registry, team["sam"], release.name, "production")
    with team.registry.view() as state:
        assert resolve(state, PRODUCTION).warnings == ()
    assert verify(team.registry).faults == []
