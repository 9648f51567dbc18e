"""An oracle: the requirements of production, implemented independently of the registry's rules."""

from collections.abc import Iterator
from typing import Any

from worldtune.registry.events.events import (
    BaseRevoked,
    ExpectationSet,
    PolicySet,
    ReleaseAdded,
    ReleaseApproved,
    ReleaseEvaluated,
    ReleaseRevoked,
)
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.state import State
from worldtune.registry.policy import Policy


def find_unjustified_promotions(state: State, events: list[Event[Any]]) -> Iterator[str]:
    """Yield what each promotion to production that counts lacked when it was made."""
    before: list[Event[Any]] = []
    counted = {move.event.sequence for move in state.moves.values()}
    for event in events:
        fact = event.fact
        if event.sequence in counted and fact.channel == "production" and fact.action == "promotion":
            yield from _find_lacking(
                event, [entry for entry in before if f"{entry.sequence:012d}" not in state.ignored]
            )
        before.append(event)


def _find_lacking(move: Event[Any], before: list[Event[Any]]) -> Iterator[str]:
    fact = move.fact
    policy = [entry.fact for entry in before if isinstance(entry.fact, PolicySet)][-1]
    rule = Policy.model_validate(policy.content).rule_for("production")
    (release,) = (entry for entry in before if isinstance(entry.fact, ReleaseAdded) and entry.fact.name == fact.name)
    evaluations = [
        entry.fact for entry in before if isinstance(entry.fact, ReleaseEvaluated) and entry.fact.digest == fact.digest
    ]
    gates = {
        entry.fact.digest
        for entry in before
        if isinstance(entry.fact, ExpectationSet) and entry.fact.scope == fact.adapter
    }
    if rule.evidence and not any(entry.outcome == "pass" and entry.expires > move.at for entry in evaluations):
        yield f"event {move.sequence}: production holds a release that never passed"
    if rule.evidence and not gates and evaluations and evaluations[-1].outcome != "pass":
        yield f"event {move.sequence}: production holds a release whose newest evaluation failed"
    approvers = {
        entry.actor
        for entry in before
        if isinstance(entry.fact, ReleaseApproved) and entry.fact.digest == fact.digest
        and entry.fact.channel == "production"
        and entry.fact.adapter == fact.adapter and entry.fact.expires > move.at
    }  # fmt: skip
    if len(approvers - {release.fact.author}) < rule.approvals:
        yield f"event {move.sequence}: production holds a release without enough approvals"
    for entry in before:
        if isinstance(entry.fact, ReleaseRevoked) and entry.fact.digest == fact.digest:
            yield f"event {move.sequence}: production holds a revoked release"
        if isinstance(entry.fact, BaseRevoked) and entry.fact.base == release.fact.base:
            yield f"event {move.sequence}: production holds a release on a revoked base"
