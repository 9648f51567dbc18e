"""The state of a registry: what its verified events say. Only the reducer changes it; everybody else reads it here."""

from dataclasses import asdict, dataclass
from typing import Any

from worldtune.registry.facts import (
    BY_NAME,
    Approved,
    BaseRevoked,
    Derived,
    Evaluated,
    Expected,
    Fact,
    Moved,
    PolicySet,
    Released,
    Revoked,
)
from worldtune.registry.identities import Identity
from worldtune.registry.log.event_log import Event, Head
from worldtune.registry.log.tables import Stored, Table

Events = tuple[Event[Any], ...]


@dataclass(frozen=True)
class Move:
    """A move of a channel that counts, and the hashes of the evaluation and the approvals that it rested on."""

    event: Event[Moved]
    evidence: str | None
    approvals: tuple[str, ...]


@dataclass(frozen=True)
class Ignored:
    """An event without effect: since which event (its own, or the one that called a key stolen), and why."""

    since: int
    why: str


class State:
    """What the events up to `head` say, by tables. `clock` is the time of the newest event that was allowed.

    Releases are by `adapter@number`, channels by `adapter@channel`; approvals and withdrawals by digest and channel.
    `stolen` are keys that are known to be in wrong hands: nothing that they let in has an effect, at whatever place.
    """

    def __init__(self, registry: str, founder: str, stored: Stored | None = None) -> None:
        self.registry, self.founder, self.stored = registry, founder, stored
        self.head, self.clock, self.founded_at = Head(), "", ""
        self.stolen: frozenset[str] = frozenset()
        self.tables: dict[str, Table[Any]] = {}
        self.identities: Table[Identity] = self._table("identities", asdict, _identity)
        self.policies: Table[Event[PolicySet]] = self._events("policies")
        self.expected: Table[Event[Expected]] = self._events("expected")
        self.releases: Table[Event[Released]] = self._events("releases")
        self.numbers: Table[int] = self._plain("numbers", int)
        self.by_digest: Table[tuple[str, ...]] = self._plain("by_digest", tuple)
        self.children: Table[tuple[str, ...]] = self._plain("children", tuple)
        self.labels: Table[dict[str, str]] = self._plain("labels", dict)
        self.evaluations: Table[tuple[Event[Evaluated], ...]] = self._lists("evaluations")
        self.approvals: Table[tuple[Event[Approved], ...]] = self._lists("approvals")
        self.withdrawals: Table[Events] = self._lists("withdrawals")
        self.generations: Table[int] = self._plain("generations", int)
        self.moves: Table[Move] = self._table("moves", _move_json, _move)
        self.heads: Table[str] = self._plain("heads", str)
        self.revoked: Table[tuple[Event[Revoked], ...]] = self._lists("revoked")
        self.revoked_bases: Table[tuple[Event[BaseRevoked], ...]] = self._lists("revoked_bases")
        self.derived: Table[Event[Derived]] = self._events("derived")
        self.made: Table[int] = self._plain("made", int)
        self.brought: Table[int] = self._plain("brought", int)
        self.corrections: Table[str] = self._plain("corrections", str)
        self.ignored: Table[Ignored] = self._table("ignored", asdict, lambda found: Ignored(**found))

    def dated_ahead(self, event: Event[Any]) -> bool:
        """Was it written by a clock that was ahead, as was found out later? Then what expires would for too long."""
        later = (at for key, at in self.corrections.items() if int(key) > event.sequence)
        return any(at < event.at for at in later)

    def dump(self) -> dict[str, Any]:
        """All of it as JSON, to compare two states."""
        content = {
            name: {key: table.encode(value) for key, value in table.items()} for name, table in self.tables.items()
        }
        return {**content, **self.scalars()}

    def scalars(self) -> dict[str, Any]:
        """What is not in tables, as JSON."""
        return {"head": list(self.head), "clock": self.clock, "founded_at": self.founded_at,
                "stolen": sorted(self.stolen)}  # fmt: skip

    def _table(self, name: str, encode: Any, decode: Any) -> Table[Any]:
        self.tables[name] = Table(name, encode, decode, self.stored)
        return self.tables[name]

    def _events(self, name: str) -> Table[Any]:
        return self._table(name, event_json, event_of)

    def _lists(self, name: str) -> Table[Any]:
        return self._table(
            name, lambda found: [event_json(event) for event in found], lambda found: tuple(map(event_of, found))
        )

    def _plain(self, name: str, kind: Any) -> Table[Any]:
        return self._table(name, lambda found: list(found) if isinstance(found, tuple) else found, kind)


def place(sequence: int) -> str:
    """A sequence or a generation as a key, in whose order the keys sort."""
    return f"{sequence:012d}"


def event_json(event: Event[Any]) -> list[Any]:
    """A verified event as a replica keeps it."""
    fact = event.fact.model_dump(mode="json")
    return [event.sequence, event.at, event.actor, event.key, event.hash, event.fact.kind, fact]


def event_of(found: list[Any]) -> Event[Any]:
    """The event that a replica kept."""
    sequence, at, actor, key, its_hash, kind, content = found
    fact: Fact = BY_NAME[kind].model_validate(content)
    return Event(sequence, at, actor, key, fact, its_hash)


def _identity(found: dict[str, Any]) -> Identity:
    return Identity(**(found | {"roles": tuple(found["roles"])}))


def _move_json(move: Move) -> list[Any]:
    return [event_json(move.event), move.evidence, list(move.approvals)]


def _move(found: list[Any]) -> Move:
    event, evidence, approvals = found
    return Move(event_of(event), evidence, tuple(approvals))
