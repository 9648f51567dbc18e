"""The event log: signed events in a chain, each of which holds its registry, its place and the hash of the one before.

An event is a DSSE envelope around an in-toto statement; its hash is that of the envelope's bytes. Whoever reads an
event checks all of that: a row that was edited, deleted, inserted, moved or copied from another registry is refused
by name, and nothing is answered from a chain that is broken.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from securesystemslib.signer import CryptoSigner
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import IntegrityError

from worldtune.errors import BusyError, RecipeError, TamperError
from worldtune.files import digest_bytes
from worldtune.registry.facts import BY_KIND, KIND, Fact, Founded, Unreadable
from worldtune.registry.identities import Identity
from worldtune.registry.keys import public_key
from worldtune.registry.log.schema import EVENTS
from worldtune.registry.manifest import MIB, canonical
from worldtune.registry.statements import opened, said, sign, signed_by, statement
from worldtune.strict import parse

F = TypeVar("F", bound=Fact)
START = "0" * 64
LARGEST = 4 * MIB  # characters of an envelope; one that came with an import holds another
HELD = ("registry", "sequence", "previous", "at", "actor", "fact")
MEND = "The log was changed from outside: bring it back from a copy, and compare it with a signed head."


@dataclass(frozen=True)
class Event(Generic[F]):
    """One event: its place in the chain, when, who (a person, by which of their keys), what, and its hash."""

    sequence: int
    at: str
    actor: str
    key: str
    fact: F
    hash: str


class Head(NamedTuple):
    """The newest event's place and hash; that of an empty log is the start."""

    sequence: int = 0
    hash: str = START


class Row(NamedTuple):
    """One event as it stands in the database, whatever it is worth."""

    sequence: int
    hash: str
    envelope: str


def rows_from(connection: Connection, sequence: int) -> Iterator[Row]:
    """The rows from a place on, in order."""
    query = select(EVENTS).where(EVENTS.c.sequence >= sequence).order_by(EVENTS.c.sequence)
    for row in connection.execute(query, execution_options={"yield_per": 1000}):  # not of the connection: it writes too
        if not isinstance(row.hash, str) or not isinstance(row.envelope, str) or len(row.envelope) > LARGEST:
            raise TamperError("the row is no event", where=f"event {row.sequence}", mend=MEND)
        yield Row(*row)


def read_event(
    row: Row, head: Head, identity_of: Callable[[str], Identity | None], registry: str, founder: str
) -> Event[Any]:
    """The event of a row that follows `head`, its envelope opened by the key of its signer.

    Raises TamperError unless it was signed for this registry and this very place, by a key that is known here.
    Whether its signer was allowed to say it is for the rules.
    """
    where = f"event {row.sequence}"
    if row.sequence != head.sequence + 1:
        raise TamperError(f"the event {head.sequence + 1} is missing", where=where, mend=MEND)
    envelope = row.envelope.encode(errors="surrogatepass")
    if digest_bytes(envelope) != row.hash:
        raise TamperError("its bytes are not those of its hash", where=where, mend=MEND)
    key_id = signed_by(envelope, where)
    if row.sequence == 1 and key_id != founder:
        what = f"the registry was founded by the key {key_id[:12]}, not by {founder[:12]}"
        raise TamperError(what, where=where, mend="This is another registry than the one you joined.")
    known = identity_of(key_id)
    if known is None and row.sequence > 1:
        raise TamperError(f"it is signed by a key that nobody has, {key_id[:12]}", where=where, mend=MEND)
    key = known.public if known else _founding_key(envelope, key_id, where)
    event, previous = _parsed(row, opened(envelope, key, where), key_id, registry)
    if previous != head.hash:
        raise TamperError(f"the chain is broken after event {head.sequence}", where=where, mend=MEND)
    if known is not None and event.actor != known.person:
        raise TamperError(f"{known.person} signed it as {event.actor}", where=where, mend=MEND)
    return event


def verified_history(connection: Connection, head: Head, registry: str) -> Iterator[Event[Any]]:
    """Every event up to a head that was verified before: its hash vouches for all of them, signatures and all.

    Raises TamperError at the first row that the head does not vouch for; what was yielded before then is not to be
    used unless all was.
    """
    last = Head()
    for row in rows_from(connection, 1):
        if row.sequence > head.sequence:
            break
        where = f"event {row.sequence}"
        envelope = row.envelope.encode(errors="surrogatepass")
        content = said(envelope, where)
        event, previous = _parsed(row, content, signed_by(envelope, where), registry)
        if (row.sequence, previous, digest_bytes(envelope)) != (last.sequence + 1, last.hash, row.hash):
            raise TamperError("it is not the event that this machine verified", where=where, mend=MEND)
        last = Head(row.sequence, row.hash)
        yield event
    if last != head:
        what = f"the event {head.sequence} that this machine verified is not in the log any more"
        raise TamperError(what, where="log", mend=MEND)


def envelope_of(connection: Connection, event: Event[Any]) -> bytes:
    """A verified event as it was signed. Raises TamperError when the log holds another."""
    query = select(EVENTS.c.envelope).where(EVENTS.c.sequence == event.sequence)
    envelope = (connection.execute(query).scalar() or "").encode(errors="surrogatepass")
    if digest_bytes(envelope) != event.hash:
        what = "it is not the event that this machine verified"
        raise TamperError(what, where=f"event {event.sequence}", mend=MEND)
    return envelope


def append_event(
    connection: Connection, signer: CryptoSigner, registry: str, head: Head, draft: Event[F]
) -> tuple[Event[F], Row]:
    """Sign a draft for the place after `head`, and put it there. Raises BusyError when another is there already."""
    predicate = {
        "registry": registry, "sequence": draft.sequence, "previous": head.hash, "at": draft.at, "actor": draft.actor,
        "fact": draft.fact.model_dump(mode="json"),
    }  # fmt: skip
    envelope = sign(statement(draft.fact.subject, KIND.format(draft.fact.kind), predicate), signer)
    row = Row(draft.sequence, digest_bytes(envelope), envelope.decode())
    try:
        connection.execute(insert(EVENTS), row._asdict())
    except IntegrityError as error:
        mend = "Look at what is there now, and try again."
        raise BusyError("another process was first", where=draft.fact.kind, mend=mend) from error
    return Event(draft.sequence, draft.at, draft.actor, draft.key, draft.fact, row.hash), row


def fact_of(kind: str, content: Any) -> Fact:
    """The fact of a kind; one that is not as its kind asks is `Unreadable`, which no rule allows."""
    fact = BY_KIND[kind]
    try:
        found = parse(fact, content, fact.kind)
        if canonical(found.model_dump(mode="json")) == canonical(content):  # True is 1 to Python, and not here
            return found
        why = "it is not in its canonical form"
    except RecipeError as error:
        why = error.what
    return Unreadable(stated=fact.kind, why=" ".join(why.split())[:300])


def _founding_key(envelope: bytes, key_id: str, where: str) -> Any:
    stated = said(envelope, where)["predicate"].get("fact")
    try:
        key = public_key(parse(Founded, stated, where).public)
    except (RecipeError, ValueError) as error:
        raise TamperError(f"it founds no registry: {error}", where=where, mend=MEND) from error
    if key.keyid != key_id:
        raise TamperError("the founder's key is not the one that signed", where=where, mend=MEND)
    return key


def _parsed(row: Row, content: dict[str, Any], key_id: str, registry: str) -> tuple[Event[Any], str]:
    """The event that a statement says, and the hash of the one before. Raises TamperError for one of another place."""
    where, predicate = f"event {row.sequence}", content["predicate"]
    if set(predicate) != set(HELD):
        raise TamperError("it is no event of a registry", where=where, mend=MEND)
    found, sequence, previous, at, actor, fact = (predicate[name] for name in HELD)
    if found != registry:
        raise TamperError(f"it is of another registry, {str(found)[:40]!r}", where=where, mend=MEND)
    if sequence != row.sequence:
        raise TamperError(f"it was signed as event {str(sequence)[:20]}", where=where, mend=MEND)
    kind = content.get("predicateType")
    if not isinstance(kind, str) or kind not in BY_KIND:
        what = f"it is of a kind that this worldtune does not know, {str(kind)[:80]!r}"
        raise TamperError(what, where=where, mend="Upgrade worldtune; if it is the newest, the log was changed.")
    if not isinstance(at, str) or not isinstance(actor, str):
        raise TamperError("it does not say when, or who", where=where, mend=MEND)
    return Event(row.sequence, at, actor, key_id, fact_of(kind, fact), row.hash), str(previous)
