"""An evaluation attaches to exactly the adapter, card and base that it judged."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from worldtune.adapters.card import read_card
from worldtune.bench.registry_reports import GATES, SUITE, edit, report_of
from worldtune.errors import DataError, RegistryError
from worldtune.registry.add import add
from worldtune.registry.clock import time_of
from worldtune.registry.evidence import attach, judged
from worldtune.registry.facts import Evaluated, Released
from worldtune.registry.standing import standing

from .conftest import NAME, Team
from .log_support import events_of


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
    assert (fact.digest, fact.base, fact.suite, fact.gates) == (release.digest, release.base, SUITE, GATES)
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


def results(report: Path) -> Any:
    return json.loads((report / "results.json").read_text())


EDITS: dict[str, tuple[Callable[[Any], dict[str, object]], str]] = {
    "no rulings": (lambda found: {"rulings": {}}, "no gates for 'other'"),
    "empty rulings": (
        lambda found: {"rulings": found["rulings"] | {"new": []}},
        "'every base tensor loaded' is missing",
    ),
    "one made-up ruling": (
        lambda found: {"rulings": found["rulings"] | {"new": [{"gate": "looks good", "outcome": "pass", "why": ""}]}},
        "'every base tensor loaded' is missing",
    ),
    "the rulings of a better one": (
        lambda found: {"rulings": {name: results_like(found) for name in found["rulings"]}},
        "contradict the scores",
    ),
    "a mandatory gate dropped": (
        lambda found: {"rulings": found["rulings"] | {"new": found["rulings"]["new"][:1]}},
        "'differs from the base by ≥ 0.5 levels' is missing",
    ),
    "a gate of nobody's": (
        lambda found: {"policy": {"gates": [{"metric": "psnr_db", "at_least": 0}]}},
        "the gates' policy has the digest",
    ),
    "the digest of another policy": (lambda found: {"gates": "6" * 64}, "the gates' policy has the digest"),
    "the digest of another suite": (lambda found: {"suite": "5" * 64}, "the suite's digest is not that of"),
    "a candidate renamed": (
        lambda found: {"rulings": {"newer": found["rulings"]["new"], "other": found["rulings"]["other"]}},
        "no gates for 'new'",
    ),
    "candidates swapped": (
        lambda found: {"rulings": {"new": found["rulings"]["other"], "other": found["rulings"]["new"]}},
        "contradict the scores",
    ),
}


def results_like(found: Any) -> list[dict[str, str]]:
    return [ruling | {"outcome": "pass"} for ruling in found["rulings"]["new"]]


@pytest.mark.parametrize("edited", EDITS)
def test_results_edited_by_hand_are_no_evidence(
    release: Released, team: Team, source: Path, tmp_path: Path, edited: str
) -> None:
    report = report_of(source, tmp_path / "report", "fail")
    change, fault = EDITS[edited]
    content = (edit(report, **change(results(report))) / "results.json").read_bytes()
    with pytest.raises(DataError, match=fault):
        judged(content, release, read_card(source), "results.json")
    with pytest.raises(DataError, match=fault):
        attach(team.registry, team["eva"], release.name, report)


def test_the_scores_of_one_adapter_are_no_evidence_of_another(release: Released, source: Path, tmp_path: Path) -> None:
    """`other` is not this release: what was loaded for it names other weights."""
    report = report_of(source, tmp_path / "report")
    edit(report, lineage={"other": results(report)["lineage"]["new"]})
    with pytest.raises(RegistryError, match=r"other weights than \w{12} were loaded for other: all of it"):
        judged((report / "results.json").read_bytes(), release, read_card(source), "results.json")


def test_evidence_is_what_the_scores_say(release: Released, source: Path, tmp_path: Path) -> None:
    report = report_of(source, tmp_path / "report", "fail")
    assert judged((report / "results.json").read_bytes(), release, read_card(source), "x") == (
        "new", "fail", SUITE, GATES,
    )  # fmt: skip


def test_results_that_do_not_say_what_was_judged_on_are_refused(
    team: Team, source: Path, release: Released, tmp_path: Path
) -> None:
    report = report_of(source, tmp_path / "report", plan=None)
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
