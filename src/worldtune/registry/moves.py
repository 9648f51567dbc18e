"""The moves of channels: which holds now, and whether it was made as the policy of its time asks."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from sqlalchemy import Select, func, select

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.brought import counts
from worldtune.registry.facts import KIND, Approved, Evaluated, Moved, PolicySet, Released
from worldtune.registry.policy import Policy
from worldtune.registry.record import Event, View
from worldtune.registry.tables import EVENTS, TABLES
from worldtune.strict import parse

MOVED = TABLES[Moved]
MEND = "Promote a release anew, or roll back; see `worldtune registry audit` for who did it."


def channel_head(view: View, adapter: str, channel: str) -> Event[Moved] | None:
    """The newest move of a channel that counts; None where there is none."""
    newest = MOVED.c.generation == _generation(adapter, channel).scalar_subquery()
    found = view.facts(Moved, newest, adapter=adapter, channel=channel) or moves_of(view, adapter, channel)
    return max(found, key=lambda event: event.fact.generation, default=None)


def generation_of(view: View, adapter: str, channel: str) -> int:
    """How often a channel was moved, by whomever; 0 for never."""
    return view.connection.execute(_generation(adapter, channel)).scalar() or 0


def _generation(adapter: str, channel: str) -> Select[Any]:
    return select(func.max(MOVED.c.generation)).where(MOVED.c.adapter == adapter, MOVED.c.channel == channel)


def moves_of(view: View, adapter: str, channel: str) -> list[Event[Moved]]:
    """Every move of a channel that counts, the oldest first."""
    return view.facts(Moved, adapter=adapter, channel=channel)


def refuse_misspelt(view: View, channel: str, named: Iterable[str]) -> None:
    """Raises RegistryError for a channel that there never was and whose name is nearly that of one that there is."""
    known = {*named, *view.connection.execute(select(MOVED.c.channel).distinct()).scalars()}
    if channel not in known and (near := get_close_matches(channel, known, n=1, cutoff=0.75)):
        what = f"there is no channel {channel!r} yet, and one is called nearly so"
        raise RegistryError(what, where="channel", mend=f"Did you mean '{near[0]}'? Else choose another name.")


def check_move(view: View, move: Event[Moved], release: Released) -> None:
    """Raises TamperError for a move that a program other than this one wrote past the policy of its time."""
    fact, where = move.fact, f"event {move.sequence}"
    policy = _policy_at(view, move.sequence)
    rule = policy.rule(fact.channel)
    if fact.policy != policy.digest or (fact.how == "break-glass") != (fact.expires is not None):
        raise TamperError(f"{fact.told}: not as the policy of that time asks", where=where, mend=MEND)
    if fact.how == "break-glass":
        return
    approvers = {
        event.fact.person
        for event in _named(view, fact.approvals, Approved, move.sequence)
        if (event.fact.digest, event.fact.adapter, event.fact.channel) == (fact.digest, fact.adapter, fact.channel)
        and event.fact.person != release.author
        and counts(view, event)
    }
    evidence = [
        event
        for event in _named(view, fact.evidence, Evaluated, move.sequence)
        if event.fact.digest == fact.digest and event.fact.outcome == "pass" and counts(view, event)
    ]
    earlier = fact.how == "promotion" or any(
        one.digest == fact.digest and one.generation < fact.generation
        for one in view.rows(Moved, adapter=fact.adapter, channel=fact.channel)
    )
    needs_evidence = rule.evidence and fact.how == "promotion"
    if len(approvers) < rule.approvals or (needs_evidence and not evidence) or not earlier:
        what = f"{fact.told}: without the evidence or the approvals that the policy of that time asks for"
        raise TamperError(what, where=where, mend=MEND)


def _named(view: View, hashes: tuple[str, ...], kind: type[Any], before: int) -> list[Event[Any]]:
    """Events by their hashes, of a kind, before a place in the record."""
    if not hashes:
        return []
    events = view.events(EVENTS.c.hash.in_(hashes), EVENTS.c.sequence < before)
    return [event for event in events if isinstance(event.fact, kind)]


def _policy_at(view: View, sequence: int) -> Policy:
    """The policy that held at a place in the record, whatever became of the key that set it."""
    table = TABLES[PolicySet]
    newest = select(func.max(table.c.sequence)).where(table.c.sequence < sequence).scalar_subquery()
    for event in view.events(EVENTS.c.sequence == newest, EVENTS.c.kind == KIND.format(PolicySet.kind)):
        return parse(Policy, event.fact.content, f"event {event.sequence}")
    raise TamperError("no policy held", where=f"event {sequence}", mend=MEND)
