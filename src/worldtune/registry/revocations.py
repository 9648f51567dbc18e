"""Revocations of one registry told to another: a small file of signed statements, for sites without a network.

They hold there for the bytes, or the base, that they name, whether those are there yet or not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError, TamperError, UserError, first_line
from worldtune.files import atomic_file
from worldtune.registry.bundle import LARGEST_TEXT, signed
from worldtune.registry.database import reading
from worldtune.registry.facts import KIND, BaseRevoked, Revoked
from worldtune.registry.log.event_log import MEND as LOST
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.permissions import check_may
from worldtune.registry.log.state import State
from worldtune.registry.log.statements_of_others import brought_key, identity_of, spoken
from worldtune.registry.log.writer import Writer
from worldtune.registry.manifest import canonical, parse_json
from worldtune.registry.registry import Registry
from worldtune.registry.releases import same_bytes
from worldtune.registry.statements import opened, said, signed_by

FORMAT = "worldtune revocations 1"
MEND = "Ask the sender for it again."
KINDS: dict[str, type[Any]] = {KIND.format(kind.kind): kind for kind in (Revoked, BaseRevoked)}


@dataclass(frozen=True)
class Told:
    """What came in: the revocations that hold from here on, and why others do not."""

    revoked: tuple[Event[Any], ...]
    left_out: tuple[str, ...]


def revocations_of(state: State) -> list[Event[Any]]:
    """Every revocation of bytes and of bases, in order."""
    return sorted(_all(state), key=lambda event: event.sequence)


def write_revocations(registry: Registry, target: Path) -> list[Event[Any]]:
    """Write every revocation as it was signed. The file is the same, byte for byte, for the same ones.

    Raises RegistryError where there is a file.
    """
    if target.exists():
        raise RegistryError("there is something already", where=str(target), mend="Choose another file with --out.")
    with registry.view() as state, reading(registry.engine) as connection:
        found = revocations_of(state)
        statements = [parse_json(signed(connection, event), "log") for event in found]
    with atomic_file(target) as partial:
        partial.write_bytes(canonical({"format": FORMAT, "statements": statements}))
    return found


def bring_revocations(registry: Registry, signer: CryptoSigner, source: Path) -> Told:
    """Let another registry's revocations hold here: those whose signers may revoke here.

    What the same signer revoked here already is passed over. Raises RegistryError for a file that holds none, or a key
    that may not import; TamperError when one was said here, and the log lacks it.
    """
    envelopes = _read(source)
    with registry.writer(signer) as writer:
        any_of_them = BaseRevoked(base="0" * 64, reason="import", statement="")
        check_may(writer.state, writer.identity, any_of_them, writer.at, "import")
        revoked, left_out = [], []
        for envelope in envelopes:
            try:
                if _is_known(writer, envelope, str(source)):
                    continue
                revoked.append(writer.append(_as_here(writer.state, envelope, writer.at, str(source))))
            except _LostError:
                what = "a revocation was said here, and is not in the log any more"
                raise TamperError(what, where="log", mend=LOST) from None
            except UserError as error:
                left_out.append(str(error))
    return Told(tuple(revoked), tuple(left_out))


def _read(source: Path) -> list[bytes]:
    where = str(source)
    if not source.is_file():
        raise RegistryError("there is no such file", where=where, mend="Correct the path.")
    if source.stat().st_size > LARGEST_TEXT:
        raise TamperError("it is larger than such a file is", where=where, mend=MEND)
    content = parse_json(source.read_bytes(), where)
    statements = content.get("statements") if isinstance(content, dict) else None
    if not isinstance(statements, list) or content.get("format") != FORMAT:
        raise RegistryError(f"it does not say {FORMAT!r}", where=where, mend="Name a file of `registry revocations`.")
    try:
        return [canonical(each) for each in statements]
    except ValueError as error:
        raise TamperError(f"no JSON: {first_line(error)}", where=where, mend=MEND) from error


class _LostError(Exception):
    """A revocation that was said here, and is not here."""


def _all(state: State) -> Iterator[Event[Any]]:
    for table in (state.revoked, state.revoked_bases):
        for events in table.values():
            yield from events


def _is_known(writer: Writer, envelope: bytes, where: str) -> bool:
    """Does it hold here already? Raises RegistryError when it says that it was said here, and nobody here signed it."""
    state = writer.state
    if said(envelope, where)["predicate"].get("registry") != state.registry:
        return brought_key(envelope) in state.brought
    identity = identity_of(state, signed_by(envelope, where), where)
    opened(envelope, identity.public, where)
    key = brought_key(envelope)
    if not any(brought_key(signed(writer.connection, event)) == key for event in _all(state)):
        raise _LostError
    return True


def _as_here(state: State, envelope: bytes, at: str, where: str) -> Revoked | BaseRevoked:
    """What a statement of another registry says; of bytes that are here it names the release here.

    Raises RegistryError when its signer may not revoke here.
    """
    kind = KINDS.get(str(said(envelope, where).get("predicateType")))
    if kind is None:
        raise TamperError("it is no revocation", where=where, mend="Leave it.")
    _, stated = spoken(state, envelope, kind, at, where)
    here = same_bytes(state, stated.digest)[:1] if isinstance(stated, Revoked) else []
    names = here[0].fact.identity if here else {}
    found: Revoked | BaseRevoked = stated.model_copy(update=names | {"statement": envelope.decode()})
    return found
