"""Signed heads: what the chain's end was, to be kept elsewhere and pinned by whoever has not seen the log yet.

Whoever owns the database can cut the newest events off, and nothing in the log shows it; a head outside of it does.
"""

from pathlib import Path

from pydantic import Field
from securesystemslib.signer import CryptoSigner
from sqlalchemy import select

from worldtune.errors import RecipeError, RegistryError, TamperError
from worldtune.files import atomic_file
from worldtune.registry.database import reading
from worldtune.registry.log.event_log import MEND, Head
from worldtune.registry.log.heads import keep_seen
from worldtune.registry.log.permissions import check_valid
from worldtune.registry.log.schema import EVENTS
from worldtune.registry.log.statements_of_others import identity_of
from worldtune.registry.manifest import DIGEST
from worldtune.registry.registry import Registry
from worldtune.registry.statements import opened, sign, signed_by, statement
from worldtune.strict import Strict, parse

KIND = "urn:worldtune:registry:head:1"


class SignedHead(Strict):
    """The newest event's place, hash and time, as `actor` saw it."""

    registry: str
    sequence: int = Field(ge=1, lt=2**63)
    hash: str = Field(pattern=DIGEST)
    at: str
    actor: str


def write_head(registry: Registry, signer: CryptoSigner, path: Path) -> SignedHead:
    """Sign the newest event's place and hash. Raises RegistryError for a key that is not valid here."""
    with registry.view() as state:
        identity = identity_of(state, signer.public_key.keyid, "key")
        check_valid(identity, state.clock, "key")
        head = SignedHead(
            registry=state.registry,
            sequence=state.head.sequence,
            hash=state.head.hash,
            at=state.clock,
            actor=identity.person,
        )
    with atomic_file(path) as partial:
        partial.write_bytes(sign(statement({"head": head.hash}, KIND, head.model_dump()), signer))
    return head


def check_head(registry: Registry, path: Path) -> SignedHead:
    """The head that a file says. Raises TamperError when the log does not hold it, or nobody known signed it."""
    where = str(path)
    try:
        envelope = path.read_bytes()
    except OSError as error:
        raise RegistryError(f"it cannot be read: {error.strerror}", where=where, mend="Correct the path.") from error
    with registry.view() as state, reading(registry.engine) as connection:
        identity = identity_of(state, signed_by(envelope, where), where)
        if identity.stolen:
            raise TamperError("it was signed by a stolen key", where=where, mend="Compare with another.")
        content = opened(envelope, identity.public, where)
        try:
            head = parse(SignedHead, content["predicate"], where)
        except RecipeError as error:
            raise TamperError(f"it is no head: {error.what}", where=where, mend="Name another file.") from error
        if content.get("predicateType") != KIND or head.registry != registry.place.registry:
            raise TamperError("it is no head of this registry", where=where, mend="Name the file of this one.")
        found = connection.execute(select(EVENTS.c.hash).where(EVENTS.c.sequence == head.sequence)).scalar()
        if found != head.hash or head.sequence > state.head.sequence:
            what = f"the event {head.sequence} is not what {identity.person} signed on {head.at}"
            raise TamperError(what, where=registry.place.database, mend=MEND)
    return head


def pin_head(registry: Registry, path: Path) -> SignedHead:
    """Refuse from now on, on this machine, a log that lacks a signed head. Raises TamperError as `check_head` does."""
    head = check_head(registry, path)
    keep_seen(registry.seen, Head(head.sequence, head.hash), registry.listener.note)
    return head
