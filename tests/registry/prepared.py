"""Releases that are judged, approved, ready for production."""

from datetime import timedelta
from typing import Any

from worldtune.bench.registry_reports import GATES, SUITE, results_of
from worldtune.registry.add import About, add
from worldtune.registry.approval import approve
from worldtune.registry.clock import text_of, time_of
from worldtune.registry.facts import Evaluated, Moved, Released
from worldtune.registry.log.rules import generation_of
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.standing import policy_now
from worldtune.registry.stated import card_of

from .conftest import NAME, Team

PRODUCTION = f"{NAME}@production"
LAX = Policy(channels={"*": Rule()})
LATER = "2999-01-01T00:00:00.000000Z"


def released(team: Team, **about: Any) -> Released:
    """A release of which nothing is said."""
    return add(team.registry, team["sam"], NAME, team.another(), About(**about)).fact


def judged(team: Team, release: Released, **changed: Any) -> None:
    """Attach evidence as `evidence.attach` does, without an evaluation."""
    card = card_of(team.registry.store, release.card, release)
    results = team.registry.store.put_bytes(results_of(card, team.adapter, changed.get("outcome", "pass")))
    with team.registry.writer(team["eva"]) as writer:
        fields: dict[str, Any] = release.identity | {
            "person": writer.identity.person, "base": release.base, "suite": SUITE, "gates": GATES,
            "results": results, "candidate": "new", "outcome": "pass",
            "expires": text_of(time_of(writer.at) + timedelta(days=1)),
        }  # fmt: skip
        writer.append(Evaluated(**(fields | changed)))


def ready(team: Team, **about: Any) -> Released:
    """A release that may go to production."""
    release = released(team, **about)
    judged(team, release)
    approve(team.registry, team["bob"], release.name, "production", "good")
    return release


def move(team: Team, release: Released, **changed: Any) -> Moved:
    """A promotion to production as it would be right now."""
    with team.registry.view() as state:
        fields = release.identity | {
            "channel": "production", "generation": generation_of(state, release.adapter, "production") + 1,
            "how": "promotion", "policy": policy_now(state).digest,
        }  # fmt: skip
    return Moved.model_validate(fields | changed)
