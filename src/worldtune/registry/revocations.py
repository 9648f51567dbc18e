"""Revocations of one registry told to another: a small file of signed statements, for sites without a network.

They hold there for the bytes that they name, whether those are there yet or not.
"""

from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.files import atomic_file
from worldtune.registry.brought import spoken
from worldtune.registry.bundle import LARGEST_TEXT, signed
from worldtune.registry.facts import Released, Revoked
from worldtune.registry.manifest import canonical, parse_json
from worldtune.registry.record import Event, Writer
from worldtune.registry.registry import Registry
from worldtune.registry.releases import revocation
from worldtune.registry.statements import said

FORMAT = "worldtune revocations 1"
MEND = "Ask the sender for it again."


@dataclass(frozen=True)
class Told:
    """What came in: the revocations that hold from here on, and why others do not."""

    revoked: tuple[Event[Revoked], ...]
    left_out: tuple[str, ...]


def write_revocations(registry: Registry, target: Path) -> list[Event[Revoked]]:
    """Write every revocation as it was signed. The file is the same, byte for byte, for the same ones."""
    with registry.view() as view:
        found = view.facts(Revoked)
        statements = [parse_json(signed(view, event), "record") for event in found]
    with atomic_file(target) as partial:
        partial.write_bytes(canonical({"format": FORMAT, "statements": statements}))
    return found


def bring_revocations(registry: Registry, signer: CryptoSigner, source: Path) -> Told:
    """Let another registry's revocations hold here: those whose signers may revoke here.

    What is revoked here already is passed over. Raises RegistryError for a file that holds none, or a key that may
    not import.
    """
    envelopes = _read(source)
    with registry.writer(signer) as writer:
        revoked, left_out = [], []
        for envelope in envelopes:
            try:
                fact = _revocation(writer, envelope, str(source))
            except UserError as error:
                left_out.append(str(error))
                continue
            if fact is not None:
                revoked.append(writer.append(fact))
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
    return [canonical(each) for each in statements]


def _revocation(writer: Writer, envelope: bytes, where: str) -> Revoked | None:
    """A revocation as it will stand here; None for one that was said here, or of what is revoked here already.

    Raises RegistryError when its signer may not revoke here.
    """
    if said(envelope, where)["predicate"].get("registry") == writer.registry:
        return None
    _, stated = spoken(writer, envelope, Revoked, writer.at, writer.head().sequence + 1, where)
    if revocation(writer, stated.digest):
        return None
    here = writer.facts(Released, digest=stated.digest)
    names = here[0].fact.identity if here else {}
    fact: Revoked = stated.model_copy(update=names | {"statement": envelope.decode()})
    return fact
