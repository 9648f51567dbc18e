"""An evaluation attaches only to the adapter, card and base that it evaluated."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from benchmarks.registry.reports import GATES, SUITE, edit_results, write_report_of
from worldtune.adapters.card import read_card
from worldtune.errors import DataError, RegistryError
from worldtune.registry.clock import parse_time
from worldtune.registry.events.events import ReleaseAdded, ReleaseEvaluated
from worldtune.registry.governance.evidence import attach_evaluation, recompute_outcome
from worldtune.registry.log.release_status import release_status
from worldtune.registry.releases.add import add_release

from ..conftest import NAME, Team
from ..log_support import list_events


@pytest.fixture
def source(team: Team) -> Path:
    return team.another()


@pytest.fixture
def release(team: Team, source: Path) -> ReleaseAdded:
    return add_release(team.registry, team["sam"], NAME, source).fact


@pytest.mark.parametrize("outcome", ["pass", "fail", "not enough evidence"])
def test_outcome_is_attached_with_the_results(
    team: Team, source: Path, release: ReleaseAdded, tmp_path: Path, outcome: str
) -> None:
    report = write_report_of(source, tmp_path / "report", outcome)
    event = attach_evaluation(team.registry, team["eva"], release.name, report, timedelta(days=3))
    fact = event.fact
    assert (fact.outcome, fact.candidate, fact.person) == (outcome, "new", "eva")
    assert (fact.digest, fact.base, fact.suite, fact.gates) == (release.digest, release.base, SUITE, GATES)
    assert parse_time(fact.expires) - parse_time(event.at) == timedelta(days=3)
    assert team.registry.store.read(fact.results) == (report / "results.json").read_bytes()
    with team.registry.view() as state:
        counts = release_status(state, release, None, event.at).evidence
    assert (counts is not None) == (outcome == "pass")


def test_evaluation_of_other_card_or_weights_is_rejected(
    team: Team, source: Path, release: ReleaseAdded, tmp_path: Path
) -> None:
    other = write_report_of(team.another(), tmp_path / "other")
    with pytest.raises(RegistryError, match="no candidate has the weights"):
        attach_evaluation(team.registry, team["eva"], release.name, other)
    report = write_report_of(source, tmp_path / "report")
    lineage = json.loads((report / "results.json").read_text())["lineage"]
    for key in ("weights", "card", "base_digest"):
        changed = edit_results(report, lineage={"new": lineage["new"] | {key: "0" * 64}})
        with pytest.raises(RegistryError, match="no candidate has the weights"):
            attach_evaluation(team.registry, team["eva"], release.name, changed)
    assert list_events(team.registry, ReleaseEvaluated) == []


def results(report: Path) -> Any:
    return json.loads((report / "results.json").read_text())


EDITS: dict[str, tuple[Callable[[Any], dict[str, object]], str]] = {
    "no gate results": (lambda found: {"gate_results": {}}, "no gates for 'other'"),
    "empty gate results": (
        lambda found: {"gate_results": found["gate_results"] | {"new": []}},
        "'every base tensor loaded' is missing",
    ),
    "one made-up gate result": (
        lambda found: {
            "gate_results": found["gate_results"] | {"new": [{"gate": "looks good", "outcome": "pass", "why": ""}]}
        },
        "'every base tensor loaded' is missing",
    ),
    "the gate results of a better candidate": (
        lambda found: {"gate_results": {name: results_like(found) for name in found["gate_results"]}},
        "contradict the scores",
    ),
    "a mandatory gate dropped": (
        lambda found: {"gate_results": found["gate_results"] | {"new": found["gate_results"]["new"][:1]}},
        "'differs from the base by ≥ 0.5 levels' is missing",
    ),
    "a gate of another policy": (
        lambda found: {"policy": {"gates": [{"metric": "psnr_db", "at_least": 0}]}},
        "the gates' policy has the digest",
    ),
    "the digest of another policy": (lambda found: {"gates": "6" * 64}, "the gates' policy has the digest"),
    "the digest of another suite": (lambda found: {"suite": "5" * 64}, "the suite's digest is not that of"),
    "a candidate renamed": (
        lambda found: {
            "gate_results": {"newer": found["gate_results"]["new"], "other": found["gate_results"]["other"]}
        },
        "no gates for 'new'",
    ),
    "candidates swapped": (
        lambda found: {"gate_results": {"new": found["gate_results"]["other"], "other": found["gate_results"]["new"]}},
        "contradict the scores",
    ),
}


def results_like(found: Any) -> list[dict[str, str]]:
    return [gate_result | {"outcome": "pass"} for gate_result in found["gate_results"]["new"]]


@pytest.mark.parametrize("edited", EDITS)
def test_edited_results_are_rejected(
    release: ReleaseAdded, team: Team, source: Path, tmp_path: Path, edited: str
) -> None:
    report = write_report_of(source, tmp_path / "report", "fail")
    change, fault = EDITS[edited]
    content = (edit_results(report, **change(results(report))) / "results.json").read_bytes()
    with pytest.raises(DataError, match=fault):
        recompute_outcome(content, release, read_card(source), "results.json")
    with pytest.raises(DataError, match=fault):
        attach_evaluation(team.registry, team["eva"], release.name, report)


def test_scores_of_another_adapter_are_rejected(release: ReleaseAdded, source: Path, tmp_path: Path) -> None:
    """`other` is not this release: other weights were loaded for it."""
    report = write_report_of(source, tmp_path / "report")
    edit_results(report, lineage={"other": results(report)["lineage"]["new"]})
    with pytest.raises(RegistryError, match=r"the evaluation of other loaded the weights all of it, not \w{12}"):
        recompute_outcome((report / "results.json").read_bytes(), release, read_card(source), "results.json")


def test_outcome_is_recomputed_from_the_scores(release: ReleaseAdded, source: Path, tmp_path: Path) -> None:
    report = write_report_of(source, tmp_path / "report", "fail")
    assert recompute_outcome((report / "results.json").read_bytes(), release, read_card(source), "x") == (
        "new", "fail", SUITE, GATES,
    )  # fmt: skip


def test_results_without_a_suite_are_rejected(team: Team, source: Path, release: ReleaseAdded, tmp_path: Path) -> None:
    report = write_report_of(source, tmp_path / "report", plan=None)
    with pytest.raises(RegistryError, match="do not name their suite"):
        attach_evaluation(team.registry, team["eva"], release.name, report)


def test_invalid_results_are_rejected(team: Team, release: ReleaseAdded, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(DataError):
        attach_evaluation(team.registry, team["eva"], release.name, tmp_path)
    with pytest.raises(DataError):
        attach_evaluation(team.registry, team["eva"], release.name, tmp_path / "nothing")


def test_unauthorized_evaluation_stores_nothing(
    team: Team, source: Path, release: ReleaseAdded, tmp_path: Path
) -> None:
    report = write_report_of(source, tmp_path / "report")
    before = sorted(team.registry.store.digests())
    with pytest.raises(RegistryError, match="bob has the role approver; this needs evaluator"):
        attach_evaluation(team.registry, team["bob"], release.name, report)
    assert sorted(team.registry.store.digests()) == before
