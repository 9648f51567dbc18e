"""Promotion, rollback, break-glass: who may, on what evidence, and exactly once."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from worldtune.errors import BusyError, RegistryError, TamperError
from worldtune.files import digest_bytes
from worldtune.registry import clock
from worldtune.registry.add import About, add
from worldtune.registry.approval import approve, revoke, withdraw
from worldtune.registry.enrolment import expect, set_clock, set_policy
from worldtune.registry.facts import Approved, Evaluated
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import BreakGlass, promote, rollback
from worldtune.registry.releases import channel_head, resolve
from worldtune.registry.standing import standing
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import events_of
from .prepared import PRODUCTION, judged, ready


def test_what_is_judged_and_approved_is_promoted_and_resolves(team: Team) -> None:
    release = ready(team)
    event = promote(team.registry, team["sam"], release.name, "production")
    assert (event.fact.generation, event.fact.how) == (1, "promotion")
    with team.registry.view() as state:
        move = channel_head(state, NAME, "production")
        assert move is not None
        assert move.event == event
        assert move.evidence == events_of(team.registry, Evaluated)[0].hash
        assert move.approvals == (events_of(team.registry, Approved)[0].hash,)
        for text in (
            PRODUCTION,
            f"{NAME}@1",
            f"{NAME}@sha256:{release.digest}",
            f"{NAME}@sha256:{release.digest[:12]}",
        ):
            assert resolve(state, text).release.fact == release
    assert verify(team.registry).faults == []


def test_what_is_missing_is_all_said_at_once(team: Team) -> None:
    release = add(team.registry, team["sam"], NAME, team.another()).fact
    with pytest.raises(RegistryError) as error:
        promote(team.registry, team["sam"], release.name, "production")
    assert error.value.what == (
        "it may not go to production: evidence: there is no evaluation; "
        "approvals: 0 of 1, by people who did not make it"
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
def test_evidence_that_does_not_count_is_none(team: Team, changed: dict[str, Any], why: str) -> None:
    release = add(team.registry, team["sam"], NAME, team.another()).fact
    approve(team.registry, team["bob"], release.name, "production", "good")
    judged(team, release, **changed)
    with pytest.raises(RegistryError, match=why):
        promote(team.registry, team["sam"], release.name, "production")


def test_evidence_of_another_base_is_refused(team: Team) -> None:
    release = add(team.registry, team["sam"], NAME, team.another()).fact
    with pytest.raises(RegistryError, match="base: the evaluation was of another base"):
        judged(team, release, base="7" * 64)


def test_the_newest_evaluation_decides_not_the_best(team: Team) -> None:
    release = ready(team)
    judged(team, release, outcome="fail")
    with pytest.raises(RegistryError, match="the gates say fail"):
        promote(team.registry, team["sam"], release.name, "production")


def test_evidence_of_other_bytes_is_none(team: Team) -> None:
    release = ready(team)
    other = add(team.registry, team["sam"], NAME, team.another()).fact
    approve(team.registry, team["bob"], other.name, "production", "good")
    assert other.digest != release.digest
    with pytest.raises(RegistryError, match="there is no evaluation"):
        promote(team.registry, team["sam"], other.name, "production")


def test_nobody_approves_their_own_and_two_keys_are_one_person(team: Team) -> None:
    release = add(team.registry, team["ann"], NAME, team.another()).fact
    judged(team, release)
    with pytest.raises(RegistryError, match="ann made it, and cannot approve it"):
        approve(team.registry, team["ann"], release.name, "production", "mine")
    set_policy(team.registry, team["ann"], Policy(channels={"production": Rule(approvals=2), "*": Rule()}))
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


def test_an_approval_that_was_taken_back_does_not_count(team: Team) -> None:
    release = ready(team)
    withdraw(team.registry, team["bob"], release.name, "production", "I looked again")
    with pytest.raises(RegistryError, match="bob took it back"):
        promote(team.registry, team["sam"], release.name, "production")
    approve(team.registry, team["bob"], release.name, "production", "and again")
    promote(team.registry, team["sam"], release.name, "production")
    with pytest.raises(RegistryError, match="bea did not approve it for production"):
        withdraw(team.registry, team["bea"], release.name, "production", "no")


def test_under_another_policy_it_must_be_approved_anew(team: Team) -> None:
    release = ready(team)
    set_policy(team.registry, team["ann"], Policy(channels={"production": Rule(approvals=1), "*": Rule()}))
    with pytest.raises(RegistryError, match="that of bob was under another policy"):
        promote(team.registry, team["sam"], release.name, "production")


@pytest.mark.parametrize("what", ["base", "suite", "gates", "calibration"])
def test_what_changed_makes_a_release_stale_and_is_said(team: Team, what: str) -> None:
    release = ready(team, calibration="8" * 64)
    expect(team.registry, team["ann"], "cell7", what, "9" * 64, "it changed")
    with pytest.raises(RegistryError, match=f"{what}: .* is expected"):
        promote(team.registry, team["sam"], release.name, "production")


def test_of_several_scopes_the_longest_holds(team: Team) -> None:
    release = ready(team, calibration="8" * 64)
    expect(team.registry, team["ann"], "cell7/front", "calibration", "8" * 64, "this camera")
    expect(team.registry, team["ann"], "cell7", "calibration", "9" * 64, "the others")
    expect(team.registry, team["ann"], "cell7/fro", "calibration", "9" * 64, "another cell, whose name begins so")
    promote(team.registry, team["sam"], release.name, "production")


def test_a_channel_that_moved_meanwhile_is_not_moved_again(team: Team) -> None:
    first, second = ready(team), ready(team)
    promote(team.registry, team["sam"], first.name, "production", generation=0)
    with pytest.raises(BusyError, match="at generation 1, not 0"):
        promote(team.registry, team["sam"], second.name, "production", generation=0)
    assert promote(team.registry, team["sam"], second.name, "production", generation=1).fact.generation == 2


def test_a_revoked_release_and_what_came_from_it_go_nowhere(team: Team) -> None:
    parent = ready(team)
    child = ready(team, parent=parent.name)
    grandchild = ready(team, parent=child.name)
    revoke(team.registry, team["bob"], parent.name, "bad data")
    for release in (parent, child, grandchild):
        with pytest.raises(RegistryError, match="bad data"):
            promote(team.registry, team["sam"], release.name, "production")
        with pytest.raises(RegistryError, match="bad data"):
            approve(team.registry, team["bea"], release.name, "production", "still")
    with pytest.raises(RegistryError, match=r"its parent .* is revoked"):
        add(team.registry, team["sam"], NAME, team.another(), About(parent=parent.name))


def test_a_revoked_release_does_not_resolve_whatever_points_to_it(team: Team) -> None:
    release = ready(team)
    promote(team.registry, team["sam"], release.name, "production")
    revoke(team.registry, team["bob"], release.name, "it drops the cube")
    with team.registry.view() as state:
        for text in (PRODUCTION, release.name, f"{NAME}@sha256:{release.digest}"):
            with pytest.raises(RegistryError, match="is revoked: it drops the cube"):
                resolve(state, text)
    with pytest.raises(RegistryError, match="revoked already"):
        revoke(team.registry, team["bob"], release.name, "again")


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "adapter.json"])
def test_bytes_that_were_changed_are_not_promoted_and_are_named(team: Team, name: str) -> None:
    release = ready(team)
    blob = Path(team.registry.store.path(release.card if name == "adapter.json" else release.weights))
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(TamperError, match=f"the bytes of {name} are others"):
        promote(team.registry, team["sam"], release.name, "production")


class TestRollback:
    def test_it_goes_to_the_newest_earlier_one_that_may_be(self, team: Team) -> None:
        first, second, third = (ready(team) for _ in range(3))
        for release in (first, second, third):
            promote(team.registry, team["sam"], release.name, "production")
        move, _ = rollback(team.registry, team["bob"], PRODUCTION, "it misses")
        assert (move.fact.number, move.fact.generation, move.fact.how) == (second.number, 4, "rollback")
        revoke(team.registry, team["bob"], second.name, "bad")
        move, _ = rollback(team.registry, team["bob"], PRODUCTION, "that one too", generation=4)
        assert move.fact.number == first.number, "never one that was rolled away from"
        with pytest.raises(RegistryError, match="it never held another before"):
            rollback(team.registry, team["bob"], PRODUCTION, "and again")
        with pytest.raises(RegistryError, match="3 is one that was rolled away from: promote it again"):
            rollback(team.registry, team["bob"], PRODUCTION, "it was not that", to=third.number)
        assert promote(team.registry, team["sam"], third.name, "production").fact.generation == 6
        with pytest.raises(BusyError, match="at generation 6, not 4"):
            rollback(team.registry, team["bob"], PRODUCTION, "late", generation=4)
        assert verify(team.registry).sound

    def test_what_is_not_approved_any_more_is_not_gone_back_to(self, team: Team) -> None:
        first, second = ready(team), ready(team)
        for release in (first, second):
            promote(team.registry, team["sam"], release.name, "production")
        withdraw(team.registry, team["bob"], first.name, "production", "no")
        with pytest.raises(RegistryError, match="1 is not approved any more"):
            rollback(team.registry, team["bob"], PRODUCTION, "it misses")
        with pytest.raises(RegistryError, match="9 never was there before"):
            rollback(team.registry, team["bob"], PRODUCTION, "it misses", to=9)

    def test_evidence_that_has_expired_does_not_hinder_and_what_is_stale_is_told(self, team: Team) -> None:
        first, second = ready(team), ready(team)
        for release in (first, second):
            promote(team.registry, team["sam"], release.name, "production")
        judged(team, first, outcome="fail")
        expect(team.registry, team["ann"], NAME, "base", "9" * 64, "a new base")
        move, now = rollback(team.registry, team["bob"], PRODUCTION, "it misses")
        assert move.fact.number == first.number
        assert any(reason.startswith("base: ") for reason in now.stale)


class TestBreakGlass:
    def test_it_lets_in_what_nobody_approved_until_it_expires(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release = add(team.registry, team["sam"], NAME, team.another()).fact
        glass = BreakGlass("line 3 is down", timedelta(hours=8))
        with pytest.raises(RegistryError, match="sam is submitter, and it takes admin"):
            promote(team.registry, team["sam"], release.name, "production", glass=glass)
        move = promote(team.registry, team["ann"], release.name, "production", glass=glass).fact
        assert (move.how, move.reason) == ("break-glass", "line 3 is down")
        assert "BREAK-GLASS" in move.told
        with team.registry.view() as state:
            (warning,) = resolve(state, PRODUCTION).warnings
            assert warning.startswith(f"BREAK-GLASS: {PRODUCTION} is {release.name} without approval until ")
        later = clock.now() + timedelta(hours=9)
        monkeypatch.setattr(clock, "now", lambda: later)
        with team.registry.view() as state, pytest.raises(RegistryError, match="which has passed"):
            resolve(state, PRODUCTION)

    def test_it_does_not_let_in_what_is_revoked_or_changed(self, team: Team) -> None:
        release = add(team.registry, team["sam"], NAME, team.another()).fact
        revoke(team.registry, team["bob"], release.name, "bad")
        with pytest.raises(RegistryError, match="is revoked"):
            promote(team.registry, team["ann"], release.name, "production", glass=BreakGlass("x", timedelta(hours=1)))
        with team.registry.view() as state:
            assert channel_head(state, NAME, "production") is None


def test_digests_of_results_are_of_what_was_kept(team: Team) -> None:
    release = ready(team)
    (event,) = events_of(team.registry, Evaluated)
    assert event.fact.digest == release.digest
    assert digest_bytes(team.registry.store.read(event.fact.results)) == event.fact.results


def test_what_a_clock_that_was_ahead_dated_does_not_last(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    real = clock.now()
    with monkeypatch.context() as wrong:
        wrong.setattr(clock, "now", lambda: real + timedelta(days=300))
        release = ready(team)
        promote(team.registry, team["ann"], release.name, "production", glass=BreakGlass("down", timedelta(hours=8)))
    set_clock(team.registry, team["ann"], "it was September")
    with team.registry.view() as state, pytest.raises(RegistryError, match="or by a clock that was ahead"):
        resolve(state, PRODUCTION)
    with pytest.raises(RegistryError) as error:
        promote(team.registry, team["sam"], release.name, "production")
    assert error.value.what.count("a clock that was ahead dated it") == 2
    with monkeypatch.context() as later, team.registry.view() as state:  # nor when that time has come
        later.setattr(clock, "now", lambda: real + timedelta(days=300, hours=1))
        with pytest.raises(RegistryError, match="or by a clock that was ahead"):
            resolve(state, PRODUCTION)
        assert (
            "evidence: a clock that was ahead dated it"
            in standing(state, release, "production", clock.time_here()).lapsed
        )
    judged(team, release)
    approve(team.registry, team["bob"], release.name, "production", "still good")
    promote(team.registry, team["sam"], release.name, "production")
    with team.registry.view() as state:
        assert resolve(state, PRODUCTION).warnings == ()
    assert verify(team.registry).faults == []
