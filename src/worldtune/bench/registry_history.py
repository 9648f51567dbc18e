"""A random history of a registry: honest acts mixed with what somebody does who has a key or the whole database.

After each step three readers must agree: one with a replica, one that reduces all from nothing, and an oracle that
knows only what production asks for. `drawn` numbers decide what is done, so that hypothesis can shrink a history.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner
from sqlalchemy import Connection, text

from worldtune.errors import RegistryError, TamperError
from worldtune.files import digest_bytes
from worldtune.registry.clock import text_of, time_of
from worldtune.registry.facts import (
    KIND,
    Approved,
    BaseRevoked,
    Derived,
    Evaluated,
    Expected,
    Fact,
    Labelled,
    Moved,
    PolicySet,
    Released,
    Retired,
    Revoked,
    Withdrawn,
)
from worldtune.registry.log.event_log import Event, Row, append_event, rows_from
from worldtune.registry.log.replay import replay
from worldtune.registry.log.rules import generation_of, next_number
from worldtune.registry.log.state import State
from worldtune.registry.policy import DEFAULT, Policy, Rule
from worldtune.registry.registry import Registry, policy_fact
from worldtune.registry.statements import said, sign, statement
from worldtune.registry.verify import verify

NAMES = ("cell7/pick", "cell9/weld")
POLICIES = (DEFAULT, Policy(channels={"production": Rule(), "*": Rule()}))
LATER = "2999-01-01T00:00:00.000000Z"


def digest(number: int) -> str:
    return f"{number:064x}"


@dataclass
class History:
    """A registry and its people's keys. `truth` are the rows of the chain; the database may hold others for a while."""

    registry: Registry
    keys: dict[str, CryptoSigner]
    truth: list[Row] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.truth = self._rows()

    # What is done

    def honest(self, person: str, kind: str, drawn: list[int]) -> None:
        """Somebody says something through the product; it may refuse."""
        self._count("honest")
        with self.registry.view() as state:
            fact = draw_fact(state, person, kind, drawn, honest=True)
        try:
            with self.registry.writer(self.keys[person]) as writer:
                writer.append(fact)
        except RegistryError:
            self._count("honest, refused")
        self.truth = self._rows()

    def make_ready(self, drawn: list[int]) -> None:
        """A release is added, judged, approved and promoted, as far as the rules let it."""
        for kind in ("released", "evaluated", "approved", "moved"):
            self.honest(USUAL[kind], kind, [0, 0, drawn[2], 1, 1, 1])

    def appended(self, person: str, kind: str, drawn: list[int]) -> None:
        """Somebody's own program signs an event for the next place, and inserts it, whatever the rules say."""
        self._count("appended")
        state = self.from_nothing()
        fact = draw_fact(state, person, kind, drawn, honest=False)
        at = (state.clock, LATER, "2020-01-01T00:00:00.000000Z")[drawn[3] % 3] if drawn[4] % 8 == 0 else state.clock
        signer = self.keys[person]
        draft = Event(state.head.sequence + 1, at, person, signer.public_key.keyid, fact, "")
        with self.registry.engine.begin() as connection:
            append_event(connection, signer, state.registry, state.head, draft)
        self.truth = self._rows()

    def tamper(self, how: str, drawn: list[int]) -> None:
        """Change the database from outside, look at what readers make of it, and put it back."""
        self._count(how)
        place = 1 + drawn[0] % len(self.truth)
        with self.registry.view() as state:
            known = state.dump()
        with self.registry.engine.begin() as connection:
            open_up(connection)
            TAMPERINGS[how](self, connection, place, drawn)
        try:
            self._check_tampered(known, place)
        finally:
            with self.registry.engine.begin() as connection:
                open_up(connection)
                connection.execute(text("DELETE FROM event"))
                for row in self.truth:
                    insert_row(connection, row)
        self.check()

    # What must hold

    def check(self) -> None:
        """Fail unless the replica says exactly what the events say from nothing, and production holds what it may."""
        events, state = self._replayed()
        with self.registry.view() as kept:
            assert kept.dump() == state.dump(), "the replica says something else"
        for wrong in past_production(state, events):
            raise AssertionError(wrong)

    def from_nothing(self) -> State:
        """The state that the rows say now. Raises TamperError as any reader does who has seen nothing before."""
        return self._replayed()[1]

    def _replayed(self) -> tuple[list[Event[Any]], State]:
        events, state = [], State(self.registry.place.registry, self.registry.place.founder)
        with self.registry.engine.connect() as connection:
            for event, after in replay(connection, state):
                state = after
                events.append(event)
        return events, state

    def _check_tampered(self, known: dict[str, Any], place: int) -> None:
        """Nobody is misled: who has a replica is told what was so, or refused; who has none is refused; it is named."""
        try:
            with self.registry.view() as state:
                assert state.dump() == known, "a reader with a replica was misled"
        except TamperError:
            pass
        faults = verify(self.registry).faults
        assert faults, "verify names nothing"
        try:
            self.from_nothing()
            refused = ""
        except TamperError as error:
            refused = str(error)
        named = (
            refused in faults if refused else any("that this machine saw is not in the log" in one for one in faults)
        )
        assert named, f"verify does not name it: {refused or 'a cut'}"

    def _rows(self) -> list[Row]:
        with self.registry.engine.connect() as connection:
            return list(rows_from(connection, 1))

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def draw_fact(state: State, person: str, kind: str, drawn: list[int], *, honest: bool) -> Fact:
    """A fact of a kind, about what there is or might be; what is `honest` has the number and generation of now."""
    a, b, c, d, *_ = drawn
    name, channel = NAMES[a % 2], ("production", "staging")[b % 2]
    releases = [event.fact for event in state.releases.values()]
    its = releases[c % len(releases)] if releases else None  # for an adversary, often the newest: nobody judged it
    its = releases[-1] if releases and not honest and d % 2 else its
    of = its.identity if its else {"adapter": name, "number": 1, "digest": digest(1)}
    base, expires = digest(90 + a % 2), LATER if d % 4 else text_of(time_of(state.clock) + timedelta(seconds=d % 3))
    policy = POLICIES[d % 5 == 0].digest
    generation = generation_of(state, str(of["adapter"]), channel) + 1
    number = next_number(state, name) if honest or d % 3 else 1 + d % 4
    makers: dict[str, Any] = {
        "released": lambda: Released(
            adapter=name, number=number, digest=digest(1 + c % 6), author=person if honest or d % 3 else "sam",
            weights=digest(11), card=digest(12), base=base, base_name="pocket", size=1, provenance=digest(13),
            parent=digest(1 + d % 6) if b % 5 == 4 else None,
        ),
        "labelled": lambda: Labelled(adapter=name, labels={"robot": f"r{a % 3}"}),
        "evaluated": lambda: Evaluated(
            **of, person=person, base=its.base if its else base, suite=digest(50), gates=digest(60 + b % 2),
            results=digest(70), candidate="new", outcome=("pass", "pass", "fail")[d % 3], expires=expires,
        ),
        "approved": lambda: Approved(
            **of, person=person if honest or d % 3 else "bob", channel=channel, policy=policy, reason="good",
            expires=expires,
        ),
        "withdrawn": lambda: Withdrawn(**of, channel=channel, reason="no"),
        "moved": lambda: Moved(
            **of, channel=channel, generation=generation if honest or d % 3 else 1 + d % 5,
            how=("promotion", "promotion", "rollback", "break-glass")[a % 4], reason="so",
            policy=POLICIES[0].digest if d % 5 else policy,
            expires=text_of(time_of(state.clock) + timedelta(days=1 + d % 9)) if a % 4 == 3 else None,
        ),
        "revoked": lambda: Revoked(**of, reason="bad"),
        "base_revoked": lambda: BaseRevoked(base=base, reason="bad base"),
        "policy_set": lambda: policy_fact(POLICIES[d % 3 == 0]),
        "expected": lambda: Expected(scope=name, what="gates", digest=digest(60 + d % 2), reason="new gates"),
        "retired": lambda: Retired(
            person=("sam", "bob", "bea", "ann")[a % 4], key=_key_of(state, ("sam", "bob", "bea", "ann")[a % 4]),
            stolen=bool(d % 2), reason="gone",
        ),
        "derived": lambda: Derived(what="dataset", name="d", digest=digest(80 + a), sources=(str(of["digest"]),)),
    }  # fmt: skip
    return makers[kind]()


def past_production(state: State, events: list[Event[Any]]) -> Iterator[str]:
    """Of each promotion to production that counts, what it lacked when it was made: in other words than the rules."""
    before: list[Event[Any]] = []
    counted = {move.event.sequence for move in state.moves.values()}
    for event in events:
        fact = event.fact
        if event.sequence in counted and fact.channel == "production" and fact.how == "promotion":
            yield from _lacks(event, [one for one in before if f"{one.sequence:012d}" not in state.ignored])
        before.append(event)


def _lacks(move: Event[Any], before: list[Event[Any]]) -> Iterator[str]:
    fact = move.fact
    policy = [one.fact for one in before if isinstance(one.fact, PolicySet)][-1]
    rule = Policy.model_validate(policy.content).rule("production")
    (release,) = (one for one in before if isinstance(one.fact, Released) and one.fact.name == fact.name)
    judged = [one.fact for one in before if isinstance(one.fact, Evaluated) and one.fact.digest == fact.digest]
    gates = {one.fact.digest for one in before if isinstance(one.fact, Expected) and one.fact.scope == fact.adapter}
    if rule.evidence and not any(one.outcome == "pass" and one.expires > move.at for one in judged):
        yield f"event {move.sequence}: production holds what never passed"
    if rule.evidence and not gates and judged and judged[-1].outcome != "pass":
        yield f"event {move.sequence}: production holds what failed last"
    approvers = {
        one.actor
        for one in before
        if isinstance(one.fact, Approved) and one.fact.digest == fact.digest and one.fact.channel == "production"
        and one.fact.adapter == fact.adapter and one.fact.expires > move.at
    }  # fmt: skip
    if len(approvers - {release.fact.author}) < rule.approvals:
        yield f"event {move.sequence}: production holds what nobody approved"
    for one in before:
        if isinstance(one.fact, Revoked) and one.fact.digest == fact.digest:
            yield f"event {move.sequence}: production holds what was revoked"
        if isinstance(one.fact, BaseRevoked) and one.fact.base == release.fact.base:
            yield f"event {move.sequence}: production holds what stands on a revoked base"


def _key_of(state: State, person: str) -> str:
    return next(key for key, identity in state.identities.items() if identity.person == person)


def open_up(connection: Connection) -> None:
    """As who owns the database does it: without its triggers."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET session_replication_role = replica"))
        return
    for name in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
        connection.execute(text(f"DROP TRIGGER {name}"))


def insert_row(connection: Connection, row: Row) -> None:
    connection.execute(text("INSERT INTO event VALUES (:sequence, :hash, :envelope)"), row._asdict())


def _put(connection: Connection, row: Row) -> None:
    command = "UPDATE event SET hash = :hash, envelope = :envelope WHERE sequence = :sequence"
    connection.execute(text(command), row._asdict())


def _edited(history: History, connection: Connection, place: int, drawn: list[int]) -> None:
    """One letter of an envelope, with its hash as it was or as it should be."""
    row = history.truth[place - 1]
    at = drawn[1] % len(row.envelope)
    letter = "A" if row.envelope[at] != "A" else "B"
    envelope = row.envelope[:at] + letter + row.envelope[at + 1 :]
    _put(connection, Row(place, digest_bytes(envelope.encode()) if drawn[2] % 2 else row.hash, envelope))


def _deleted(history: History, connection: Connection, place: int, drawn: list[int]) -> None:
    connection.execute(text("DELETE FROM event WHERE sequence = :place"), {"place": place})
    if drawn[1] % 2:  # and what comes after moves up
        for row in history.truth[place:]:
            command = "UPDATE event SET sequence = sequence - 1 WHERE sequence = :place"
            connection.execute(text(command), {"place": row.sequence})


def _cut(history: History, connection: Connection, place: int, drawn: list[int]) -> None:
    connection.execute(text("DELETE FROM event WHERE sequence >= :place"), {"place": place})


def _replayed(history: History, connection: Connection, place: int, drawn: list[int]) -> None:
    old = history.truth[place - 1]
    insert_row(connection, Row(len(history.truth) + 1, old.hash, old.envelope))


def _reordered(history: History, connection: Connection, place: int, drawn: list[int]) -> None:
    other = 1 + (place + drawn[1] % (len(history.truth) - 1)) % len(history.truth)
    first, second = history.truth[place - 1], history.truth[other - 1]
    _put(connection, Row(place, second.hash, second.envelope))
    _put(connection, Row(other, first.hash, first.envelope))


def _foreign(history: History, connection: Connection, place: int, drawn: list[int]) -> None:
    """What ann signed for another registry, for the very place and time, even after the very event."""
    insert_row(connection, _lax_policy(history, "00000000-0000-0000-0000-000000000000", history.keys["ann"]))


def _stranger(history: History, connection: Connection, place: int, drawn: list[int]) -> None:
    """An event at the right place, by a key that nobody enrolled."""
    insert_row(connection, _lax_policy(history, history.registry.place.registry, CryptoSigner.generate_ed25519()))


def _lax_policy(history: History, registry: str, signer: CryptoSigner) -> Row:
    last, fact = history.truth[-1], policy_fact(POLICIES[1])
    at = said(last.envelope.encode(), "truth")["predicate"]["at"]
    predicate = {"registry": registry, "sequence": last.sequence + 1, "previous": last.hash, "at": at, "actor": "ann",
                 "fact": fact.model_dump(mode="json")}  # fmt: skip
    envelope = sign(statement(fact.subject, KIND.format(fact.kind), predicate), signer)
    return Row(last.sequence + 1, digest_bytes(envelope), envelope.decode())


TAMPERINGS = {
    "edited": _edited, "deleted": _deleted, "cut": _cut, "replayed": _replayed, "reordered": _reordered,
    "foreign": _foreign, "stranger": _stranger,
}  # fmt: skip
USUAL = {
    "released": "sam", "labelled": "sam", "derived": "sam", "moved": "sam", "evaluated": "eva", "approved": "bob",
    "withdrawn": "bob", "revoked": "bob", "base_revoked": "bob", "policy_set": "ann", "expected": "ann",
    "retired": "ann",
}  # fmt: skip
KINDS = (
    "released", "released", "evaluated", "evaluated", "approved", "approved", "moved", "moved", "moved", "withdrawn",
    "revoked", "base_revoked", "policy_set", "expected", "retired", "derived", "labelled",
)  # fmt: skip
