"""Signed statements: in-toto Statements v1 in DSSE envelopes, checked without a network.

Sources: https://github.com/in-toto/attestation (spec/v1/statement.md), https://github.com/secure-systems-lab/dsse.
"""

from collections.abc import Mapping
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from worldtune.errors import TamperError, first_line
from worldtune.registry.manifest import canonical, parse_json

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
MEND = "Somebody changed it: ask who signed it for the original."


def statement(subject: Mapping[str, str], kind: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """An in-toto Statement of a kind about some things, `subject` name → SHA-256."""
    things = [{"name": name, "digest": {"sha256": digest}} for name, digest in subject.items()]
    return {"_type": STATEMENT, "subject": things, "predicateType": kind, "predicate": dict(predicate)}


def sign(content: Mapping[str, Any], signer: CryptoSigner) -> bytes:
    """The statement in an envelope that the signer signed, as canonical JSON."""
    envelope = Envelope(payload=canonical(content), payload_type=PAYLOAD, signatures={})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def signed_by(envelope: bytes, where: str) -> str:
    """The id of the key that is said to have signed. Raises TamperError when it is no envelope."""
    parsed = parse_json(envelope, where)
    signatures = parsed.get("signatures") if isinstance(parsed, dict) else None
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        raise TamperError("no envelope with one signature", where=where, mend=MEND)
    return str(signatures[0].get("keyid"))


def said(envelope: bytes, where: str) -> dict[str, Any]:
    """What an envelope says, whoever signed it. Raises TamperError when it is none."""
    try:
        content = parse_json(Envelope.from_dict(parse_json(envelope, where)).payload, where)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise TamperError(f"no envelope: {first_line(error)}", where=where, mend=MEND) from error
    return _with_predicate(content, where)


def opened(envelope: bytes, key: SSlibKey, where: str) -> dict[str, Any]:
    """The statement that `key` signed. Raises TamperError when another did, or the text is not what was signed."""
    try:
        parsed = Envelope.from_dict(parse_json(envelope, where))
        parsed.verify([key], 1)
        is_canonical = parsed.payload_type == PAYLOAD and canonical(parsed.to_dict()) == envelope
    except (VerificationError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise TamperError(f"the signature does not hold: {first_line(error)}", where=where, mend=MEND) from error
    if not is_canonical:
        raise TamperError("no envelope in its canonical form", where=where, mend=MEND)
    content = _with_predicate(parse_json(parsed.payload, where), where)
    if content.get("_type") != STATEMENT or canonical(content) != parsed.payload:
        raise TamperError("no in-toto statement in its canonical form", where=where, mend=MEND)
    return content


def payload_of(envelope: bytes, where: str) -> bytes:
    """What was signed, however the signature over it is written: of EC there are two ways for one."""
    return canonical(said(envelope, where))


def _with_predicate(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get("predicate"), dict):
        raise TamperError("no statement with a predicate", where=where, mend=MEND)
    try:
        canonical(content)
    except ValueError as error:
        raise TamperError(f"no statement: {first_line(error)}", where=where, mend=MEND) from error
    return content
