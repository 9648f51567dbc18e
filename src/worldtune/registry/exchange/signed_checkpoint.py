"""Signed heads: the end of the chain, signed, to be stored elsewhere and pinned on machines that have not seen the log.

The database's owner can remove the newest events without a trace in the log; a head stored elsewhere reveals it.
"""

from pathlib import Path

from pydantic import Field
from securesystemslib.signer import CryptoSigner
from sqlalchemy import select

from worldtune.core.files import atomic_file
from worldtune.core.settings import StrictModel, parse_model
from worldtune.errors import RecipeError, RegistryError, TamperError
from worldtune.registry.log.event_log import LOG_HINT, Head
from worldtune.registry.log.imported_statements import get_identity
from worldtune.registry.log.permissions import check_key_valid
from worldtune.registry.log.seen_head import save_seen_head
from worldtune.registry.registry import Registry
from worldtune.registry.signing.dsse import envelope_key_id, make_statement, sign, verify_envelope
from worldtune.registry.store.database import read_transaction
from worldtune.registry.store.manifest import DIGEST_PATTERN
from worldtune.registry.store.schema import EVENTS

PREDICATE_TYPE = "urn:worldtune:registry:head:1"


class SignedHead(StrictModel):
    """The position, hash and time of the newest event that `actor` saw."""

    registry: str
    sequence: int = Field(ge=1, lt=2**63)
    hash: str = Field(pattern=DIGEST_PATTERN)
    at: str
    actor: str


def write_signed_head(registry: Registry, signer: CryptoSigner, path: Path) -> SignedHead:
    """Write a signed head of the newest event. Raise RegistryError if the key is not valid here."""
    with registry.view() as state:
        identity = get_identity(state, signer.public_key.keyid, "key")
        check_key_valid(identity, state.clock, "key")
        head = SignedHead(
            registry=state.registry,
            sequence=state.head.sequence,
            hash=state.head.hash,
            at=state.clock,
            actor=identity.person,
        )
    with atomic_file(path) as partial:
        partial.write_bytes(sign(make_statement({"head": head.hash}, PREDICATE_TYPE, head.model_dump()), signer))
    return head


def check_signed_head(registry: Registry, path: Path) -> SignedHead:
    """Return the head in a file. Raise TamperError if the log does not contain it or its signature is not valid."""
    where = str(path)
    try:
        envelope = path.read_bytes()
    except OSError as error:
        what = f"the file cannot be read: {error.strerror}"
        raise RegistryError(what, where=where, hint="Correct the path.") from error
    with registry.view() as state, read_transaction(registry.engine) as connection:
        identity = get_identity(state, envelope_key_id(envelope, where), where)
        if identity.stolen:
            raise TamperError("the head was signed by a stolen key", where=where, hint="Compare with another head.")
        content = verify_envelope(envelope, identity.public, where)
        try:
            head = parse_model(SignedHead, content["predicate"], where)
        except RecipeError as error:
            raise TamperError(f"not a signed head: {error.what}", where=where, hint="Choose another file.") from error
        if content.get("predicateType") != PREDICATE_TYPE or head.registry != registry.config.registry:
            hint = "Specify a head of this registry."
            raise TamperError("not a signed head of this registry", where=where, hint=hint)
        found = connection.execute(select(EVENTS.c.hash).where(EVENTS.c.sequence == head.sequence)).scalar()
        if found != head.hash or head.sequence > state.head.sequence:
            what = f"event {head.sequence} differs from the head that {identity.person} signed at {head.at}"
            raise TamperError(what, where=registry.config.database, hint=LOG_HINT)
    return head


def pin_signed_head(registry: Registry, path: Path) -> SignedHead:
    """Reject any later log without this signed head. Raise TamperError as `check_signed_head` does."""
    head = check_signed_head(registry, path)
    save_seen_head(registry.seen_head_path, Head(head.sequence, head.hash), registry.listener.note)
    return head
