"""The event log: a chain of signed events. Each holds its registry's id, its position and the previous event's hash.

An event is a DSSE envelope around an in-toto statement; its hash is the hash of the envelope's bytes. Every read checks
all of this: an edited, deleted, inserted, moved or foreign row raises an error that names it, and nothing is answered
from a broken chain.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from securesystemslib.signer import CryptoSigner
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import digest_bytes
from worldtune.core.settings import parse_model
from worldtune.core.strict_io import MIB
from worldtune.errors import BusyError, RecipeError, RegistryError, TamperError
from worldtune.registry.events.events import (
    FACTS_BY_PREDICATE_TYPE,
    PREDICATE_TYPE,
    Fact,
    RegistryCreated,
    UnreadableFact,
)
from worldtune.registry.events.identities import Identity
from worldtune.registry.signing.dsse import (
    envelope_key_id,
    make_statement,
    make_subjects,
    sign,
    unverified_statement,
    verify_envelope,
)
from worldtune.registry.signing.keys import parse_public_key
from worldtune.registry.store.schema import EVENTS

F = TypeVar("F", bound=Fact)
GENESIS_HASH = "0" * 64
MAX_ENVELOPE_LENGTH = 4 * MIB  # characters of an envelope; an imported event's envelope holds another one
PREDICATE_KEYS = ("registry", "sequence", "previous", "at", "actor", "fact")
LOG_HINT = "The log was changed from outside: restore it from a copy and compare it with a signed head."


@dataclass(frozen=True)
class Event(Generic[F]):
    """One event: its position in the chain, its time, the person and their key, its content, and its hash."""

    sequence: int
    at: str
    actor: str
    key: str
    fact: F
    hash: str


class Head(NamedTuple):
    """The position and hash of the newest event; the defaults describe an empty log."""

    sequence: int = 0
    hash: str = GENESIS_HASH


class Row(NamedTuple):
    """One unverified event of the database."""

    sequence: int
    hash: str
    envelope: str


def read_rows(connection: Connection, sequence: int) -> Iterator[Row]:
    """Yield the rows from a position on, in order."""
    query = select(EVENTS).where(EVENTS.c.sequence >= sequence).order_by(EVENTS.c.sequence)
    # The option is set on the query and not on the connection, which also writes.
    for row in connection.execute(query, execution_options={"yield_per": 1000}):
        if (
            not isinstance(row.hash, str)
            or not isinstance(row.envelope, str)
            or len(row.envelope) > MAX_ENVELOPE_LENGTH
        ):
            raise TamperError("the row is not an event", where=f"event {row.sequence}", hint=LOG_HINT)
        yield Row(*row)


def read_event(
    row: Row, head: Head, find_identity: Callable[[str], Identity | None], registry: str, founder: str
) -> Event[Any]:
    """Return the event of the row that follows `head`, with its signature verified.

    Raise TamperError unless it was signed for this registry and this position, by an enrolled key. The rules check
    separately whether its signer may write it.
    """
    where = f"event {row.sequence}"
    if row.sequence != head.sequence + 1:
        raise TamperError(f"event {head.sequence + 1} is missing", where=where, hint=LOG_HINT)
    envelope = row.envelope.encode(errors="surrogatepass")
    if digest_bytes(envelope) != row.hash:
        raise TamperError("the event's bytes do not match its hash", where=where, hint=LOG_HINT)
    key_id = envelope_key_id(envelope, where)
    if row.sequence == 1 and key_id != founder:
        what = f"the registry was created by the key {key_id[:12]}, not by {founder[:12]}"
        raise TamperError(what, where=where, hint="This is not the registry that you joined: check the database.")
    known = find_identity(key_id)
    if known is None and row.sequence > 1:
        raise TamperError(f"the event is signed by an unknown key, {key_id[:12]}", where=where, hint=LOG_HINT)
    key = known.public if known else _founder_key(envelope, key_id, where)
    event, previous = _parse_event(row, verify_envelope(envelope, key, where), key_id, registry)
    if previous != head.hash:
        raise TamperError(f"the chain is broken after event {head.sequence}", where=where, hint=LOG_HINT)
    if known is not None and event.actor != known.person:
        raise TamperError(f"{known.person} signed the event as {event.actor}", where=where, hint=LOG_HINT)
    return event


def read_verified_history(connection: Connection, head: Head, registry: str) -> Iterator[Event[Any]]:
    """Yield every event up to a head that was verified before; the head's hash covers all of them.

    Raise TamperError at the first row that does not match. Use the yielded events only after the iteration ended
    without an error.
    """
    last = Head()
    for row in read_rows(connection, 1):
        if row.sequence > head.sequence:
            break
        where = f"event {row.sequence}"
        envelope = row.envelope.encode(errors="surrogatepass")
        content = unverified_statement(envelope, where)
        event, previous = _parse_event(row, content, envelope_key_id(envelope, where), registry)
        if (row.sequence, previous, digest_bytes(envelope)) != (last.sequence + 1, last.hash, row.hash):
            raise TamperError("the event differs from the one that this machine verified", where=where, hint=LOG_HINT)
        last = Head(row.sequence, row.hash)
        yield event
    if last != head:
        what = f"event {head.sequence}, which this machine verified, is no longer in the log"
        raise TamperError(what, where="log", hint=LOG_HINT)


def read_envelope(connection: Connection, event: Event[Any]) -> bytes:
    """Return the envelope of a verified event. Raise TamperError if the log holds another one."""
    query = select(EVENTS.c.envelope).where(EVENTS.c.sequence == event.sequence)
    envelope = (connection.execute(query).scalar() or "").encode(errors="surrogatepass")
    if digest_bytes(envelope) != event.hash:
        what = "the event differs from the one that this machine verified"
        raise TamperError(what, where=f"event {event.sequence}", hint=LOG_HINT)
    return envelope


def append_event(
    connection: Connection, signer: CryptoSigner, registry: str, head: Head, draft: Event[F]
) -> tuple[Event[F], Row]:
    """Sign a draft for the position after `head` and insert it.

    Raise BusyError if the position is taken, RegistryError if the event is too large.
    """
    predicate = {
        "registry": registry, "sequence": draft.sequence, "previous": head.hash, "at": draft.at, "actor": draft.actor,
        "fact": draft.fact.model_dump(mode="json"),
    }  # fmt: skip
    envelope = sign(make_statement(draft.fact.subject, PREDICATE_TYPE.format(draft.fact.kind), predicate), signer)
    if len(envelope.decode()) > MAX_ENVELOPE_LENGTH:  # a larger event would make the log unreadable
        what = f"the event is larger than {MAX_ENVELOPE_LENGTH // MIB} MiB"
        raise RegistryError(what, where=draft.fact.kind, hint="Shorten its texts.")
    row = Row(draft.sequence, digest_bytes(envelope), envelope.decode())
    try:
        connection.execute(insert(EVENTS), row._asdict())
    except IntegrityError as error:
        hint = "Check what was written, then try again."
        raise BusyError("another process wrote first", where=draft.fact.kind, hint=hint) from error
    return Event(draft.sequence, draft.at, draft.actor, draft.key, draft.fact, row.hash), row


def parse_fact(kind: str, content: Any) -> Fact:
    """Return the content as an event of a kind; if it is invalid, return `UnreadableFact`, which no rule allows."""
    fact = FACTS_BY_PREDICATE_TYPE[kind]
    try:
        found = parse_model(fact, content, fact.kind)
        stated = canonical_json(found.model_dump(mode="json"))
        if stated == canonical_json(content):  # compared as JSON, because Python takes True for 1
            return found
        why = "it is not in canonical form"
    except RecipeError as error:
        why = error.what
    return UnreadableFact(stated=fact.kind, why=" ".join(why.split())[:300])


def _founder_key(envelope: bytes, key_id: str, where: str) -> Any:
    stated = unverified_statement(envelope, where)["predicate"].get("fact")
    try:
        key = parse_public_key(parse_model(RegistryCreated, stated, where).public)
    except (RecipeError, ValueError) as error:
        raise TamperError(f"the event creates no registry: {error}", where=where, hint=LOG_HINT) from error
    if key.keyid != key_id:
        raise TamperError("the event is not signed by the founder's key", where=where, hint=LOG_HINT)
    return key


def _parse_event(row: Row, content: dict[str, Any], key_id: str, registry: str) -> tuple[Event[Any], str]:
    """Return a statement's event and the previous event's hash. Raise TamperError if it belongs elsewhere."""
    where, predicate = f"event {row.sequence}", content["predicate"]
    if set(predicate) != set(PREDICATE_KEYS):
        raise TamperError("the statement is not an event of a registry", where=where, hint=LOG_HINT)
    found, sequence, previous, at, actor, fact = (predicate[name] for name in PREDICATE_KEYS)
    if found != registry:
        raise TamperError(f"the event is from another registry, {str(found)[:40]!r}", where=where, hint=LOG_HINT)
    if sequence != row.sequence:
        raise TamperError(f"the event was signed as event {str(sequence)[:20]}", where=where, hint=LOG_HINT)
    kind = content.get("predicateType")
    if not isinstance(kind, str) or kind not in FACTS_BY_PREDICATE_TYPE:
        what = f"this worldtune does not know the event kind {str(kind)[:80]!r}"
        raise TamperError(what, where=where, hint="Upgrade worldtune; if it is the newest, the log was changed.")
    if not isinstance(at, str) or not isinstance(actor, str):
        raise TamperError("the event has no time or no actor", where=where, hint=LOG_HINT)
    found_fact = parse_fact(kind, fact)
    if not isinstance(found_fact, UnreadableFact) and content.get("subject") != make_subjects(found_fact.subject):
        found_fact = UnreadableFact(stated=found_fact.kind, why="its statement has another subject")
    return Event(row.sequence, at, actor, key_id, found_fact, row.hash), str(previous)
