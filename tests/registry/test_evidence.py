"""An evaluation attaches to exactly the adapter, card and base that it judged."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import DataError, RegistryError
from worldtune.registry.add import add
from worldtune.registry.clock import time_of
from worldtune.registry.evidence import attach
from worldtune.registry.facts import Evaluated, Released
from worldtune.registry.standing import standing

from .conftest import NAME, Team
from .log_support import events_of
from .reports import edit, report_of


@pytest.fixture
def source(team: Team) -> Path:
    return team.another()


@pytest.fixture
def release(team: Team, source: Path) -> Released:
    return add(team.registry, team["sam"], NAME, source).fact


@pytest.mark.parametrize("outcome", ["pass", "fail", "not enough evidence"])
def test_what_the_gates_ruled_is_attached_with_the_results(
    team: Team, source: Path, release: Released, tmp_path: Path, outcome: str
) -> None:
    report = report_of(source, tmp_path / "report", outcome)
    event = attach(team.registry, team["eva"], release.name, report, timedelta(days=3))
    fact = event.fact
    assert (fact.outcome, fact.candidate, fact.person) == (outcome, "new", "eva")
    assert (fact.digest, fact.base, fact.suite, fact.gates) == (release.digest, release.base, "5" * 64, "6" * 64)
    assert time_of(fact.expires) - time_of(event.at) == timedelta(days=3)
    assert team.registry.store.read(fact.results) == (report / "results.json").read_bytes()
    with team.registry.view() as state:
        counts = standing(state, release, None, event.at).evidence
    assert (counts is not None) == (outcome == "pass")


def test_an_evaluation_of_another_card_or_other_weights_is_refused(
    team: Team, source: Path, release: Released, tmp_path: Path
) -> None:
    other = report_of(team.another(), tmp_path / "other")
    with pytest.raises(RegistryError, match="it judges no adapter of weights"):
        attach(team.registry, team["eva"], release.name, other)
    report = report_of(source, tmp_path / "report")
    lineage = json.loads((report / "results.json").read_text())["lineage"]
    for key in ("weights", "card", "base_digest"):
        changed = edit(report, lineage={"new": lineage["new"] | {key: "0" * 64}})
        with pytest.raises(RegistryError, match="it judges no adapter of weights"):
            attach(team.registry, team["eva"], release.name, changed)
    assert events_of(team.registry, Evaluated) == []


def test_results_that_do_not_say_what_was_judged_on_are_refused(
    team: Team, source: Path, release: Released, tmp_path: Path
) -> None:
    report = report_of(source, tmp_path / "report", suite=None)
    with pytest.raises(RegistryError, match="do not say what was judged on"):
        attach(team.registry, team["eva"], release.name, report)


def test_what_are_no_results_is_refused(team: Team, release: Released, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(DataError):
        attach(team.registry, team["eva"], release.name, tmp_path)
    with pytest.raises(DataError):
        attach(team.registry, team["eva"], release.name, tmp_path / "nothing")


def test_who_may_not_evaluate_leaves_nothing_behind(
    team: Team, source: Path, release: Released, tmp_path: Path
) -> None:
    report = report_of(source, tmp_path / "report")
    before = sorted(team.registry.store.digests())
    with pytest.raises(RegistryError, match="bob is approver, and it takes evaluator"):
        attach(team.registry, team["bob"], release.name, report)
    assert sorted(team.registry.store.digests()) == before
