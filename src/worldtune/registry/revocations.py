"""Revocations of one registry told to another: a small file of signed statements, for sites without a network.

They hold there for the bytes that they name, whether those are there yet or not.
"""

from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError, TamperError, UserError, first_line
from worldtune.files import atomic_file
from worldtune.registry.brought import spoken
from worldtune.registry.bundle import LARGEST_TEXT, signed
from worldtune.registry.facts import Released, Revoked
from worldtune.registry.manifest import canonical, parse_json
from worldtune.registry.names import check_name
from worldtune.registry.record import MEND as LOST
from worldtune.registry.record import Event, Writer
from worldtune.registry.registry import Registry
from worldtune.registry.releases import was_said
from worldtune.registry.statements import opened, payload_of, said, signed_by

FORMAT = "worldtune revocations 1"
MEND = "Ask the sender for it again."


@dataclass(frozen=True)
class Told:
    """What came in: the revocations that hold from here on, and why others do not."""

    revoked: tuple[Event[Revoked], ...]
    left_out: tuple[str, ...]


def write_revocations(registry: Registry, target: Path) -> list[Event[Revoked]]:
    """Write every revocation as it was signed. The file is the same, byte for byte, for the same ones.

    Raises RegistryError where there is a file.
    """
    if target.exists():
        raise RegistryError("there is something already", where=str(target), mend="Choose another file with --out.")
    with registry.view() as view:
        found = [event for event in view.facts(Revoked) if was_said(view, event)]
        statements = [parse_json(signed(view, event), "record") for event in found]
    with atomic_file(target) as partial:
        partial.write_bytes(canonical({"format": FORMAT, "statements": statements}))
    return found


def bring_revocations(registry: Registry, signer: CryptoSigner, source: Path) -> Told:
    """Let another registry's revocations hold here: those whose signers may revoke here.

    What the same signer revoked here already is passed over. Raises RegistryError for a file that holds none, or a key
    that may not import; TamperError when one was said here, and the record lacks it.
    """
    envelopes = _read(source)
    with registry.writer(signer) as writer:
        revoked, left_out = [], []
        for envelope in envelopes:
            try:
                own = _own(writer, envelope, str(source))
                stated = None if own else _stated(writer, envelope, str(source))
            except UserError as error:
                left_out.append(str(error))
                continue
            if _is_known(writer, envelope, stated.digest if stated else own):
                continue
            if stated is None:
                what = "a revocation was said here, and is not in the record any more"
                raise TamperError(what, where="record", mend=LOST)
            revoked.append(writer.append(_as_here(writer, stated, envelope)))
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


def _own(writer: Writer, envelope: bytes, where: str) -> str | None:
    """The digest that was revoked, if it was here. Raises RegistryError when it says so, and nobody here signed it."""
    if said(envelope, where)["predicate"].get("registry") != writer.registry:
        return None
    content = opened(envelope, writer.people.holder(signed_by(envelope, where), where).key, where)
    return str(content["predicate"].get("fact", {}).get("digest"))


def _stated(writer: Writer, envelope: bytes, where: str) -> Revoked:
    """What a statement of another registry says. Raises RegistryError when its signer may not revoke here."""
    _, stated = spoken(writer, envelope, Revoked, writer.at, writer.head().sequence + 1, where)
    revoked: Revoked = stated
    check_name(revoked.adapter)
    return revoked


def _is_known(writer: Writer, envelope: bytes, digest: str | None) -> bool:
    payload, known = payload_of(envelope, "import"), writer.facts(Revoked, digest=digest)
    return any(was_said(writer, event) and payload_of(signed(writer, event), "record") == payload for event in known)


def _as_here(writer: Writer, stated: Revoked, envelope: bytes) -> Revoked:
    """It names the release here that has these bytes, if there is one."""
    here = writer.facts(Released, digest=stated.digest)
    names = here[0].fact.identity if here else {}
    return stated.model_copy(update=names | {"statement": envelope.decode()})
