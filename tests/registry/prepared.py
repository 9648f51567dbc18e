"""Releases that are evaluated, approved and ready for production."""

from datetime import timedelta
from typing import Any

from benchmarks.registry.reports import GATES, SUITE, make_results
from worldtune.registry.clock import format_time, parse_time
from worldtune.registry.events.events import ChannelUpdated, ReleaseAdded, ReleaseEvaluated
from worldtune.registry.governance.approval import approve
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.rules import channel_generation
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.releases.add import ReleaseMetadata, add_release
from worldtune.registry.releases.verify_release import load_card

from .conftest import NAME, Team

PRODUCTION = f"{NAME}@production"
LAX_POLICY = Policy(channels={"*": ChannelRule()})
LATER = "2999-01-01T00:00:00.000000Z"


def make_release(team: Team, **metadata: Any) -> ReleaseAdded:
    """Add a release without evaluation or approval."""
    return add_release(team.registry, team["sam"], NAME, team.another(), ReleaseMetadata(**metadata)).fact


def attach_evidence(team: Team, release: ReleaseAdded, **changed: Any) -> None:
    """Attach evidence as `attach_evaluation` does, without running an evaluation."""
    card = load_card(team.registry.store, release.card, release)
    results = team.registry.store.put_bytes(make_results(card, team.adapter, changed.get("outcome", "pass")))
    with team.registry.writer(team["eva"]) as writer:
        fields: dict[str, Any] = release.identity | {
            "person": writer.identity.person, "base": release.base, "suite": SUITE, "gates": GATES,
            "results": results, "candidate": "new", "outcome": "pass",
            "expires": format_time(parse_time(writer.at) + timedelta(days=1)),
        }  # fmt: skip
        writer.append(ReleaseEvaluated(**(fields | changed)))


def make_approved_release(team: Team, **metadata: Any) -> ReleaseAdded:
    """Add a release that may be promoted to production."""
    release = make_release(team, **metadata)
    attach_evidence(team, release)
    approve(team.registry, team["bob"], release.name, "production", "good")
    return release


def make_promotion(team: Team, release: ReleaseAdded, **changed: Any) -> ChannelUpdated:
    """Return the event of a promotion to production with the current generation and policy."""
    with team.registry.view() as state:
        fields = release.identity | {
            "channel": "production", "generation": channel_generation(state, release.adapter, "production") + 1,
            "action": "promotion", "policy": current_policy(state).digest,
        }  # fmt: skip
    return ChannelUpdated.model_validate(fields | changed)
