"""A random history of a registry: honest acts mixed with attacks by someone with a key or with the database.

After each step three readers must agree: one with a replica, one that reduces all events, and an oracle that knows only
the requirements of production. The numbers in `choices` decide each act, so that hypothesis can shrink a history.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from securesystemslib.signer import CryptoSigner
from sqlalchemy import Connection, text

from benchmarks.registry.promotion_oracle import find_unjustified_promotions
from worldtune.core.files import digest_bytes
from worldtune.errors import RegistryError, TamperError
from worldtune.registry.clock import format_time, parse_time
from worldtune.registry.events.events import (
    PREDICATE_TYPE,
    ApprovalWithdrawn,
    ArtifactDerived,
    BaseRevoked,
    ChannelUpdated,
    ExpectationSet,
    Fact,
    KeyRetired,
    Labeled,
    ReleaseAdded,
    ReleaseApproved,
    ReleaseEvaluated,
    ReleaseRevoked,
)
from worldtune.registry.log.event_log import Event, Row, append_event, read_rows
from worldtune.registry.log.replay import replay
from worldtune.registry.log.rules import channel_generation, next_number
from worldtune.registry.log.state import State
from worldtune.registry.policy import DEFAULT_POLICY, ChannelRule, Policy
from worldtune.registry.registry import Registry, make_policy_fact
from worldtune.registry.signing.dsse import make_statement, sign, unverified_statement
from worldtune.registry.verify import verify

NAMES = ("cell7/pick", "cell9/weld")
POLICIES = (DEFAULT_POLICY, Policy(channels={"production": ChannelRule(), "*": ChannelRule()}))
LATER = "2999-01-01T00:00:00.000000Z"


def digest(number: int) -> str:
    return f"{number:064x}"


@dataclass
class History:
    """A registry and its people's keys. `chain` holds the true rows; the database may hold others for a while."""

    registry: Registry
    keys: dict[str, CryptoSigner]
    chain: list[Row] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chain = self._rows()

    # Acts

    def act_honestly(self, person: str, kind: str, choices: list[int]) -> None:
        """Write an event through the registry, which may reject it."""
        self._count("honest")
        with self.registry.view() as state:
            fact = draw_fact(state, person, kind, choices, act_honestly=True)
        try:
            with self.registry.writer(self.keys[person]) as writer:
                writer.append(fact)
        except RegistryError:
            self._count("honest, rejected")
        self.chain = self._rows()

    def make_ready(self, choices: list[int]) -> None:
        """Add, evaluate, approve and promote a release, as far as the rules allow it."""
        for kind in ("release_added", "release_evaluated", "release_approved", "channel_updated"):
            self.act_honestly(DEFAULT_ACTOR[kind], kind, [0, 0, choices[2], 1, 1, 1])

    def append_unchecked(self, person: str, kind: str, choices: list[int]) -> None:
        """Sign an event for the next position and insert it without checking the rules."""
        self._count("appended")
        state = self.replay_from_scratch()
        fact = draw_fact(state, person, kind, choices, act_honestly=False)
        at = (state.clock, LATER, "2020-01-01T00:00:00.000000Z")[choices[3] % 3] if choices[4] % 8 == 0 else state.clock
        signer = self.keys[person]
        draft = Event(state.head.sequence + 1, at, person, signer.public_key.keyid, fact, "")
        with self.registry.engine.begin() as connection:
            append_event(connection, signer, state.registry, state.head, draft)
        self.chain = self._rows()

    def tamper(self, how: str, choices: list[int]) -> None:
        """Change the database from outside, check the readers, and restore it."""
        self._count(how)
        place = 1 + choices[0] % len(self.chain)
        with self.registry.view() as state:
            known = state.dump()
        with self.registry.engine.begin() as connection:
            disable_triggers(connection)
            TAMPERINGS[how](self, connection, place, choices)
        try:
            self._check_tampered(known, place)
        finally:
            with self.registry.engine.begin() as connection:
                disable_triggers(connection)
                connection.execute(text("DELETE FROM event"))
                for row in self.chain:
                    insert_row(connection, row)
        self.check()

    # Checks

    def check(self) -> None:
        """Fail unless the replica equals the state rebuilt from all events, and production is justified."""
        events, state = self._replayed()
        with self.registry.view() as cached:
            assert cached.dump() == state.dump(), "the replica differs from the rebuilt state"
        for wrong in find_unjustified_promotions(state, events):
            raise AssertionError(wrong)

    def replay_from_scratch(self) -> State:
        """Return the state of the current rows. Raise TamperError as a reader without a cache does."""
        return self._replayed()[1]

    def _replayed(self) -> tuple[list[Event[Any]], State]:
        events, state = [], State(self.registry.config.registry, self.registry.config.founder)
        with self.registry.engine.connect() as connection:
            for event, after in replay(connection, state):
                state = after
                events.append(event)
        return events, state

    def _check_tampered(self, known: dict[str, Any], place: int) -> None:
        """Fail if a reader is misled: with a replica it sees the known state or an error, without one an error."""
        try:
            with self.registry.view() as state:
                assert state.dump() == known, "a reader with a replica was misled"
        except TamperError:
            pass
        faults = verify(self.registry).faults
        assert faults, "verify reports no fault"
        try:
            self.replay_from_scratch()
            message = ""
        except TamperError as error:
            message = str(error)
        named = (
            message in faults
            if message
            else any("which this machine saw, is no longer in the log" in entry for entry in faults)
        )
        assert named, f"verify does not report: {message or 'a truncated log'}"

    def _rows(self) -> list[Row]:
        with self.registry.engine.connect() as connection:
            return list(read_rows(connection, 1))

    def _count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def draw_fact(state: State, person: str, kind: str, choices: list[int], *, act_honestly: bool) -> Fact:
    """Return a random fact of a kind; if `act_honestly`, one with the current number and generation."""
    a, b, c, d, *_ = choices
    name, channel = NAMES[a % 2], ("production", "staging")[b % 2]
    releases = [event.fact for event in state.releases.values()]
    release = releases[c % len(releases)] if releases else None  # attackers often take the newest
    release = releases[-1] if releases and not act_honestly and d % 2 else release
    of = release.identity if release else {"adapter": name, "number": 1, "digest": digest(1)}
    base, expires = (
        digest(90 + a % 2),
        LATER if d % 4 else format_time(parse_time(state.clock) + timedelta(seconds=d % 3)),
    )
    policy = POLICIES[d % 5 == 0].digest
    generation = channel_generation(state, str(of["adapter"]), channel) + 1
    number = next_number(state, name) if act_honestly or d % 3 else 1 + d % 4
    builders: dict[str, Any] = {
        "release_added": lambda: ReleaseAdded(
            adapter=name, number=number, digest=digest(1 + c % 6), author=person if act_honestly or d % 3 else "sam",
            weights=digest(11), card=digest(12), base=base, base_name="pocket", size=1, provenance=digest(13),
            parent=digest(1 + d % 6) if b % 5 == 4 else None,
        ),
        "labeled": lambda: Labeled(adapter=name, labels={"robot": f"r{a % 3}"}),
        "release_evaluated": lambda: ReleaseEvaluated(
            **of, person=person, base=release.base if release else base, suite=digest(50), gates=digest(60 + b % 2),
            results=digest(70), candidate="new", outcome=("pass", "pass", "fail")[d % 3], expires=expires,
        ),
        "release_approved": lambda: ReleaseApproved(
            **of, person=person if act_honestly or d % 3 else "bob", channel=channel, policy=policy, reason="good",
            expires=expires,
        ),
        "approval_withdrawn": lambda: ApprovalWithdrawn(**of, channel=channel, reason="no"),
        "channel_updated": lambda: ChannelUpdated(
            **of, channel=channel, generation=generation if act_honestly or d % 3 else 1 + d % 5,
            action=("promotion", "promotion", "rollback", "break-glass")[a % 4], reason="so",
            policy=POLICIES[0].digest if d % 5 else policy,
            expires=format_time(parse_time(state.clock) + timedelta(days=1 + d % 9)) if a % 4 == 3 else None,
        ),
        "release_revoked": lambda: ReleaseRevoked(**of, reason="bad"),
        "base_revoked": lambda: BaseRevoked(base=base, reason="bad base"),
        "policy_set": lambda: make_policy_fact(POLICIES[d % 3 == 0]),
        "expectation_set": lambda: ExpectationSet(
            scope=name, requirement="gates", digest=digest(60 + d % 2), reason="new gates"
        ),
        "key_retired": lambda: KeyRetired(
            person=("sam", "bob", "bea", "ann")[a % 4], key=_find_key(state, ("sam", "bob", "bea", "ann")[a % 4]),
            stolen=bool(d % 2), reason="gone",
        ),
        "artifact_derived": lambda: ArtifactDerived(
            artifact="dataset", name="d", digest=digest(80 + a), sources=(str(of["digest"]),)
        ),
    }  # fmt: skip
    return builders[kind]()


def _find_key(state: State, person: str) -> str:
    return next(key for key, identity in state.identities.items() if identity.person == person)


def disable_triggers(connection: Connection) -> None:
    """Disable the triggers, as the database's owner can."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET session_replication_role = replica"))
        return
    for name in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
        connection.execute(text(f"DROP TRIGGER {name}"))


def insert_row(connection: Connection, row: Row) -> None:
    connection.execute(text("INSERT INTO event VALUES (:sequence, :hash, :envelope)"), row._asdict())


def _update_row(connection: Connection, row: Row) -> None:
    command = "UPDATE event SET hash = :hash, envelope = :envelope WHERE sequence = :sequence"
    connection.execute(text(command), row._asdict())


def _edited(history: History, connection: Connection, place: int, choices: list[int]) -> None:
    """Change one letter of an envelope, with the old hash or a matching one."""
    row = history.chain[place - 1]
    at = choices[1] % len(row.envelope)
    letter = "A" if row.envelope[at] != "A" else "B"
    envelope = row.envelope[:at] + letter + row.envelope[at + 1 :]
    _update_row(connection, Row(place, digest_bytes(envelope.encode()) if choices[2] % 2 else row.hash, envelope))


def _deleted(history: History, connection: Connection, place: int, choices: list[int]) -> None:
    connection.execute(text("DELETE FROM event WHERE sequence = :place"), {"place": place})
    if choices[1] % 2:  # close the gap
        for row in history.chain[place:]:
            command = "UPDATE event SET sequence = sequence - 1 WHERE sequence = :place"
            connection.execute(text(command), {"place": row.sequence})


def _cut(history: History, connection: Connection, place: int, choices: list[int]) -> None:
    connection.execute(text("DELETE FROM event WHERE sequence >= :place"), {"place": place})


def _replayed(history: History, connection: Connection, place: int, choices: list[int]) -> None:
    old = history.chain[place - 1]
    insert_row(connection, Row(len(history.chain) + 1, old.hash, old.envelope))


def _reordered(history: History, connection: Connection, place: int, choices: list[int]) -> None:
    other = 1 + (place + choices[1] % (len(history.chain) - 1)) % len(history.chain)
    first, second = history.chain[place - 1], history.chain[other - 1]
    _update_row(connection, Row(place, second.hash, second.envelope))
    _update_row(connection, Row(other, first.hash, first.envelope))


def _foreign(history: History, connection: Connection, place: int, choices: list[int]) -> None:
    """Insert what ann signed for another registry at the same position and time, after the same event."""
    insert_row(connection, _lax_policy(history, "00000000-0000-0000-0000-000000000000", history.keys["ann"]))


def _stranger(history: History, connection: Connection, place: int, choices: list[int]) -> None:
    """Insert an event at the right position, signed by an unknown key."""
    insert_row(connection, _lax_policy(history, history.registry.config.registry, CryptoSigner.generate_ed25519()))


def _lax_policy(history: History, registry: str, signer: CryptoSigner) -> Row:
    last, fact = history.chain[-1], make_policy_fact(POLICIES[1])
    at = unverified_statement(last.envelope.encode(), "truth")["predicate"]["at"]
    predicate = {"registry": registry, "sequence": last.sequence + 1, "previous": last.hash, "at": at, "actor": "ann",
                 "fact": fact.model_dump(mode="json")}  # fmt: skip
    envelope = sign(make_statement(fact.subject, PREDICATE_TYPE.format(fact.kind), predicate), signer)
    return Row(last.sequence + 1, digest_bytes(envelope), envelope.decode())


TAMPERINGS = {
    "edited": _edited, "deleted": _deleted, "cut": _cut, "replayed": _replayed, "reordered": _reordered,
    "foreign": _foreign, "stranger": _stranger,
}  # fmt: skip
DEFAULT_ACTOR = {
    "release_added": "sam", "labeled": "sam", "artifact_derived": "sam", "channel_updated": "sam",
    "release_evaluated": "eva", "release_approved": "bob",
    "approval_withdrawn": "bob", "release_revoked": "bob", "base_revoked": "bob", "policy_set": "ann",
    "expectation_set": "ann",
    "key_retired": "ann",
}  # fmt: skip
KINDS = (
    "release_added", "release_added", "release_evaluated", "release_evaluated", "release_approved",
    "release_approved", "channel_updated", "channel_updated", "channel_updated", "approval_withdrawn",
    "release_revoked", "base_revoked", "policy_set", "expectation_set", "key_retired", "artifact_derived", "labeled",
)  # fmt: skip
