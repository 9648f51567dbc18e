"""Signed statements: in-toto Statements v1 in DSSE envelopes, verified offline.

Sources: https://github.com/in-toto/attestation (spec/v1/statement.md), https://github.com/secure-systems-lab/dsse.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from worldtune.core.canonical_json import canonical_json
from worldtune.errors import RegistryError, TamperError, first_line
from worldtune.registry.store.manifest import parse_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
HINT = "It was changed: ask the person who signed it for the original."


def make_statement(subject: Mapping[str, str], kind: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """Return an in-toto Statement of a kind; `subject` maps names to SHA-256."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": make_subjects(subject),
        "predicateType": kind,
        "predicate": dict(predicate),
    }


def make_subjects(subject: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return a statement's subjects in in-toto's form; `subject` maps names to SHA-256."""
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in subject.items()]


def sign(content: Mapping[str, Any], signer: CryptoSigner) -> bytes:
    """Return the statement in a signed envelope, as canonical JSON."""
    envelope = Envelope(payload=canonical_json(content), payload_type=PAYLOAD_TYPE, signatures={})
    envelope.sign(signer)
    return canonical_json(envelope.to_dict())


def envelope_key_id(envelope: bytes, where: str) -> str:
    """Return the key id that an envelope states, unverified. Raise TamperError if it is not an envelope."""
    return _parse_envelope(envelope, where).key


def unverified_statement(envelope: bytes, where: str) -> dict[str, Any]:
    """Return an envelope's statement without verifying the signature. Raise TamperError if it is not an envelope."""
    return _check_predicate(_parse_json(_parse_envelope(envelope, where).payload, where), where)


def verify_envelope(envelope: bytes, key: SSlibKey, where: str) -> dict[str, Any]:
    """Return the statement that `key` signed. Raise TamperError if another key signed or the text was changed."""
    parsed = _parse_envelope(envelope, where)
    try:
        key.verify_signature(Signature(key.keyid, parsed.signature.hex()), parsed.signed_bytes)
    except (UnverifiedSignatureError, VerificationError) as error:
        raise TamperError(f"the signature is not valid: {first_line(error)}", where=where, hint=HINT) from error
    if parsed.key != key.keyid or parsed.kind != PAYLOAD_TYPE or not parsed.is_canonical:
        raise TamperError("the envelope is not in canonical form", where=where, hint=HINT)
    content = _check_predicate(_parse_json(parsed.payload, where), where)
    if content.get("_type") != STATEMENT_TYPE or canonical_json(content) != parsed.payload:
        raise TamperError("the in-toto statement is not in canonical form", where=where, hint=HINT)
    return content


class _Envelope(NamedTuple):
    """The parsed parts of a DSSE envelope with one signature."""

    payload: bytes
    kind: str
    key: str
    signature: bytes
    is_canonical: bool

    @property
    def signed_bytes(self) -> bytes:
        """DSSE's pre-authentication encoding."""
        kind = self.kind.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


@lru_cache(maxsize=16)  # callers read the key id first and the content next
def _parse_envelope(envelope: bytes, where: str) -> _Envelope:
    found = _parse_json(envelope, where)
    try:
        (signature,) = found["signatures"]
        payload, sig = (b64decode(text, validate=True) for text in (found["payload"], signature["sig"]))
        kind, key = found["payloadType"], signature["keyid"]
    except (KeyError, TypeError, ValueError) as error:
        what = f"not an envelope with one signature: {first_line(error)}"
        raise TamperError(what, where=where, hint=HINT) from error
    if not isinstance(kind, str) or not isinstance(key, str):
        raise TamperError("not an envelope with one signature", where=where, hint=HINT)
    texts = [b64encode(part).decode() for part in (payload, sig)]  # some bytes have several base64 texts
    is_canonical = canonical_json(found) == envelope and texts == [found["payload"], signature["sig"]]
    return _Envelope(payload, kind, key, sig, is_canonical)


def canonical_statement(envelope: bytes, where: str) -> bytes:
    """Return the signed statement without its signature, because an EC signature has two valid forms."""
    return canonical_json(unverified_statement(envelope, where))


def _parse_json(content: bytes, where: str) -> Any:
    try:
        return parse_json(content, where)
    except RegistryError as error:
        raise TamperError(error.what, where=where, hint=HINT) from error


def _check_predicate(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get("predicate"), dict):
        raise TamperError("not a statement with a predicate", where=where, hint=HINT)
    try:
        canonical_json(content)
    except ValueError as error:
        raise TamperError(f"not a statement: {first_line(error)}", where=where, hint=HINT) from error
    return content
