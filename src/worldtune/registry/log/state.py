"""The state of a registry, computed from its verified events. Only the reducer changes it."""

from dataclasses import asdict, dataclass
from typing import Any

from worldtune.registry.events.events import (
    FACTS_BY_KIND,
    ArtifactDerived,
    BaseRevoked,
    ChannelUpdated,
    ExpectationSet,
    Fact,
    PolicySet,
    ReleaseAdded,
    ReleaseApproved,
    ReleaseEvaluated,
    ReleaseRevoked,
)
from worldtune.registry.events.identities import Identity
from worldtune.registry.log.event_log import Event, Head
from worldtune.registry.log.tables import StoredTables, Table

EventTuple = tuple[Event[Any], ...]


@dataclass(frozen=True)
class ChannelMove:
    """A channel update that counts, with the hashes of the evaluation and the approvals that allowed it."""

    event: Event[ChannelUpdated]
    evidence: str | None
    approvals: tuple[str, ...]


@dataclass(frozen=True)
class IgnoredEvent:
    """An event without effect: since which event (itself, or the one that retired a key as stolen), and why."""

    since: int
    why: str


class State:
    """The state after the events up to `head`, in tables. `clock` is the time of the newest allowed event.

    Keys are `adapter@number` for releases, `adapter@channel` for channels, digest and channel for approvals and
    withdrawals. `stolen` holds the stolen keys: nothing that they let in has an effect, at any position in the log.
    """

    def __init__(self, registry: str, founder: str, stored: StoredTables | None = None) -> None:
        self.registry, self.founder, self.stored = registry, founder, stored
        self.head, self.clock, self.created_at = Head(), "", ""
        self.stolen: frozenset[str] = frozenset()
        self.tables: dict[str, Table[Any]] = {}
        self.identities: Table[Identity] = self._table("identities", asdict, _decode_identity)
        self.policies: Table[Event[PolicySet]] = self._event_table("policies")
        self.expected: Table[Event[ExpectationSet]] = self._event_table("expected")
        self.releases: Table[Event[ReleaseAdded]] = self._event_table("releases")
        self.numbers: Table[int] = self._plain_table("numbers", int)
        self.names_by_digest: Table[tuple[str, ...]] = self._plain_table("names_by_digest", tuple)
        self.children: Table[tuple[str, ...]] = self._plain_table("children", tuple)
        self.labels: Table[dict[str, str]] = self._plain_table("labels", dict)
        self.evaluations: Table[tuple[Event[ReleaseEvaluated], ...]] = self._list_table("evaluations")
        self.approvals: Table[tuple[Event[ReleaseApproved], ...]] = self._list_table("approvals")
        self.withdrawals: Table[EventTuple] = self._list_table("withdrawals")
        self.generations: Table[int] = self._plain_table("generations", int)
        self.moves: Table[ChannelMove] = self._table("moves", _encode_move, _decode_move)
        self.heads: Table[str] = self._plain_table("heads", str)
        self.revoked: Table[tuple[Event[ReleaseRevoked], ...]] = self._list_table("revoked")
        self.revoked_bases: Table[tuple[Event[BaseRevoked], ...]] = self._list_table("revoked_bases")
        self.derived: Table[Event[ArtifactDerived]] = self._event_table("derived")
        self.derived_sequences: Table[int] = self._plain_table("derived_sequences", int)
        self.imported_statements: Table[int] = self._plain_table("imported_statements", int)
        self.clock_corrections: Table[str] = self._plain_table("clock_corrections", str)
        self.ignored: Table[IgnoredEvent] = self._table("ignored", asdict, lambda found: IgnoredEvent(**found))

    def was_dated_ahead(self, event: Event[Any]) -> bool:
        """Return whether an event's clock was ahead, as a later correction shows; it would expire too late."""
        later = (at for key, at in self.clock_corrections.items() if int(key) > event.sequence)
        return any(at < event.at for at in later)

    def dump(self) -> dict[str, Any]:
        """Return everything as JSON, to compare two states."""
        content = {
            name: {key: table.encode(value) for key, value in table.items()} for name, table in self.tables.items()
        }
        return {**content, **self.scalars()}

    def scalars(self) -> dict[str, Any]:
        """Return the values outside the tables as JSON."""
        return {"head": list(self.head), "clock": self.clock, "created_at": self.created_at,
                "stolen": sorted(self.stolen)}  # fmt: skip

    def _table(self, name: str, encode: Any, decode: Any) -> Table[Any]:
        self.tables[name] = Table(name, encode, decode, self.stored)
        return self.tables[name]

    def _event_table(self, name: str) -> Table[Any]:
        return self._table(name, encode_event, decode_event)

    def _list_table(self, name: str) -> Table[Any]:
        return self._table(
            name, lambda found: [encode_event(event) for event in found], lambda found: tuple(map(decode_event, found))
        )

    def _plain_table(self, name: str, kind: Any) -> Table[Any]:
        return self._table(name, lambda found: list(found) if isinstance(found, tuple) else found, kind)


def sequence_key(sequence: int) -> str:
    """Return a sequence or generation as a key whose text order is the numeric order."""
    return f"{sequence:012d}"


def encode_event(event: Event[Any]) -> list[Any]:
    """Return a verified event in a replica's form."""
    fact = event.fact.model_dump(mode="json")
    return [event.sequence, event.at, event.actor, event.key, event.hash, event.fact.kind, fact]


def decode_event(found: list[Any]) -> Event[Any]:
    """Return the event of a replica's form."""
    sequence, at, actor, key, event_hash, kind, content = found
    fact: Fact = FACTS_BY_KIND[kind].model_validate(content)
    return Event(sequence, at, actor, key, fact, event_hash)


def _decode_identity(found: dict[str, Any]) -> Identity:
    return Identity(**(found | {"roles": tuple(found["roles"])}))


def _encode_move(move: ChannelMove) -> list[Any]:
    return [encode_event(move.event), move.evidence, list(move.approvals)]


def _decode_move(found: list[Any]) -> ChannelMove:
    event, evidence, approvals = found
    return ChannelMove(decode_event(event), evidence, tuple(approvals))
