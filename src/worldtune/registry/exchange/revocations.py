"""Exchange of revocations between registries: a small file of signed statements, for sites without a network.

At the other site they apply to the bytes or the base that they name, even before those are present.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import atomic_file
from worldtune.errors import RegistryError, TamperError, UserError, first_line
from worldtune.registry.events.events import PREDICATE_TYPE, BaseRevoked, ReleaseRevoked
from worldtune.registry.exchange.oci_bundle import MAX_TEXT_BYTES, original_envelope
from worldtune.registry.log.event_log import LOG_HINT, Event
from worldtune.registry.log.imported_statements import get_identity, statement_digest, verify_foreign_statement
from worldtune.registry.log.permissions import authorize
from worldtune.registry.log.resolve import releases_with_digest
from worldtune.registry.log.state import State
from worldtune.registry.log.writer import Writer
from worldtune.registry.registry import Registry
from worldtune.registry.signing.dsse import envelope_key_id, unverified_statement, verify_envelope
from worldtune.registry.store.database import read_transaction
from worldtune.registry.store.manifest import parse_json

FORMAT = "worldtune revocations 1"
HINT = "Ask the sender for it again."
FACT_TYPES: dict[str, type[Any]] = {PREDICATE_TYPE.format(kind.kind): kind for kind in (ReleaseRevoked, BaseRevoked)}


@dataclass(frozen=True)
class RevocationImport:
    """The revocations that now apply here, and why the others do not."""

    revoked: tuple[Event[Any], ...]
    rejected: tuple[str, ...]


def list_revocations(state: State) -> list[Event[Any]]:
    """Return every revocation of releases and bases, in order."""
    return sorted(_all_revocations(state), key=lambda event: event.sequence)


def write_revocations(registry: Registry, target: Path) -> list[Event[Any]]:
    """Write every revocation as it was signed. The same revocations give the same file, byte for byte.

    Raise RegistryError if the file exists.
    """
    if target.exists():
        raise RegistryError("the file already exists", where=str(target), hint="Choose another file with --out.")
    with registry.view() as state, read_transaction(registry.engine) as connection:
        found = list_revocations(state)
        statements = [parse_json(original_envelope(connection, event), "log") for event in found]
    with atomic_file(target) as partial:
        partial.write_bytes(canonical_json({"format": FORMAT, "statements": statements}))
    return found


def import_revocations(registry: Registry, signer: CryptoSigner, source: Path) -> RevocationImport:
    """Apply another registry's revocations here if their signers may revoke here.

    Skip statements that are already here. Raise RegistryError if the file holds no revocations or the key may not
    import; TamperError if a statement is from this registry but missing from its log.
    """
    envelopes = _read_envelopes(source)
    with registry.writer(signer) as writer:
        placeholder = BaseRevoked(base="0" * 64, reason="import", statement="")
        authorize(writer.state, writer.identity, placeholder, writer.at, "import")
        revoked, rejected = [], []
        for envelope in envelopes:
            try:
                if _is_known(writer, envelope, str(source)):
                    continue
                revoked.append(writer.append(_localize(writer.state, envelope, writer.at, str(source))))
            except _MissingRevocationError:
                what = "a revocation from this registry is no longer in its log"
                raise TamperError(what, where="log", hint=LOG_HINT) from None
            except UserError as error:
                rejected.append(str(error))
    return RevocationImport(tuple(revoked), tuple(rejected))


def _read_envelopes(source: Path) -> list[bytes]:
    where = str(source)
    if not source.is_file():
        raise RegistryError("there is no such file", where=where, hint="Correct the path.")
    if source.stat().st_size > MAX_TEXT_BYTES:
        raise TamperError(f"the file is larger than {MAX_TEXT_BYTES} bytes", where=where, hint=HINT)
    content = parse_json(source.read_bytes(), where)
    statements = content.get("statements") if isinstance(content, dict) else None
    if not isinstance(statements, list) or content.get("format") != FORMAT:
        hint = "Specify a file that `registry revocations` wrote."
        raise RegistryError(f"the file's format is not {FORMAT!r}", where=where, hint=hint)
    try:
        return [canonical_json(statement) for statement in statements]
    except ValueError as error:
        raise TamperError(f"not valid JSON: {first_line(error)}", where=where, hint=HINT) from error


class _MissingRevocationError(Exception):
    """The error of a revocation from this registry that is missing from its log."""


def _all_revocations(state: State) -> Iterator[Event[Any]]:
    for table in (state.revoked, state.revoked_bases):
        for events in table.values():
            yield from events


def _is_known(writer: Writer, envelope: bytes, where: str) -> bool:
    """Return whether it already applies here. Raise RegistryError if it claims this registry but is not signed here."""
    state = writer.state
    if unverified_statement(envelope, where)["predicate"].get("registry") != state.registry:
        return statement_digest(envelope) in state.imported_statements
    identity = get_identity(state, envelope_key_id(envelope, where), where)
    verify_envelope(envelope, identity.public, where)
    key = statement_digest(envelope)
    if not any(
        statement_digest(original_envelope(writer.connection, event)) == key for event in _all_revocations(state)
    ):
        raise _MissingRevocationError
    return True


def _localize(state: State, envelope: bytes, at: str, where: str) -> ReleaseRevoked | BaseRevoked:
    """Return another registry's revocation as an event here, with this registry's name of the release if it has one.

    Raise RegistryError if its signer may not revoke here.
    """
    kind = FACT_TYPES.get(str(unverified_statement(envelope, where).get("predicateType")))
    if kind is None:
        raise TamperError("the statement is not a revocation", where=where, hint="Ignore it.")
    _, stated = verify_foreign_statement(state, envelope, kind, at, where)
    local = releases_with_digest(state, stated.digest)[:1] if isinstance(stated, ReleaseRevoked) else []
    names = local[0].fact.identity if local else {}
    fact: ReleaseRevoked | BaseRevoked = stated.model_copy(update=names | {"statement": envelope.decode()})
    return fact
