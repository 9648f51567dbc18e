"""Signed statements: in-toto Statements v1 in DSSE envelopes, checked without a network.

Sources: https://github.com/in-toto/attestation (spec/v1/statement.md), https://github.com/secure-systems-lab/dsse.
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, Signature, SSlibKey

from worldtune.errors import RegistryError, TamperError, first_line
from worldtune.registry.manifest import canonical, parse_json

STATEMENT = "https://in-toto.io/Statement/v1"
PAYLOAD = "application/vnd.in-toto+json"
MEND = "Somebody changed it: ask who signed it for the original."


def statement(subject: Mapping[str, str], kind: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """An in-toto Statement of a kind about some things, `subject` name → SHA-256."""
    return {"_type": STATEMENT, "subject": subjects(subject), "predicateType": kind, "predicate": dict(predicate)}


def subjects(subject: Mapping[str, str]) -> list[dict[str, Any]]:
    """What a statement is about, as in-toto writes it; `subject` name → SHA-256."""
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in subject.items()]


def sign(content: Mapping[str, Any], signer: CryptoSigner) -> bytes:
    """The statement in an envelope that the signer signed, as canonical JSON."""
    envelope = Envelope(payload=canonical(content), payload_type=PAYLOAD, signatures={})
    envelope.sign(signer)
    return canonical(envelope.to_dict())


def signed_by(envelope: bytes, where: str) -> str:
    """The id of the key that is said to have signed. Raises TamperError when it is no envelope."""
    return _parsed(envelope, where).key


def said(envelope: bytes, where: str) -> dict[str, Any]:
    """What an envelope says, whoever signed it. Raises TamperError when it is none."""
    return _with_predicate(_json(_parsed(envelope, where).payload, where), where)


def opened(envelope: bytes, key: SSlibKey, where: str) -> dict[str, Any]:
    """The statement that `key` signed. Raises TamperError when another did, or the text is not what was signed."""
    parsed = _parsed(envelope, where)
    try:
        key.verify_signature(Signature(key.keyid, parsed.signature.hex()), parsed.signed_bytes)
    except (UnverifiedSignatureError, VerificationError) as error:
        raise TamperError(f"the signature does not hold: {first_line(error)}", where=where, mend=MEND) from error
    if parsed.key != key.keyid or parsed.kind != PAYLOAD or not parsed.is_canonical:
        raise TamperError("no envelope in its canonical form", where=where, mend=MEND)
    content = _with_predicate(_json(parsed.payload, where), where)
    if content.get("_type") != STATEMENT or canonical(content) != parsed.payload:
        raise TamperError("no in-toto statement in its canonical form", where=where, mend=MEND)
    return content


class _Envelope(NamedTuple):
    """A DSSE envelope with one signature, taken apart."""

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


@lru_cache(maxsize=16)  # who asks for its key asks for its content next
def _parsed(envelope: bytes, where: str) -> _Envelope:
    found = _json(envelope, where)
    try:
        (signature,) = found["signatures"]
        payload, sig = (b64decode(text, validate=True) for text in (found["payload"], signature["sig"]))
        kind, key = found["payloadType"], signature["keyid"]
    except (KeyError, TypeError, ValueError) as error:
        what = f"no envelope with one signature: {first_line(error)}"
        raise TamperError(what, where=where, mend=MEND) from error
    if not isinstance(kind, str) or not isinstance(key, str):
        raise TamperError("no envelope with one signature", where=where, mend=MEND)
    texts = [b64encode(part).decode() for part in (payload, sig)]  # base64 has more than one text for some bytes
    is_canonical = canonical(found) == envelope and texts == [found["payload"], signature["sig"]]
    return _Envelope(payload, kind, key, sig, is_canonical)


def payload_of(envelope: bytes, where: str) -> bytes:
    """What was signed, however the signature over it is written: of EC there are two ways for one."""
    return canonical(said(envelope, where))


def _json(content: bytes, where: str) -> Any:
    try:
        return parse_json(content, where)
    except RegistryError as error:
        raise TamperError(error.what, where=where, mend=MEND) from error


def _with_predicate(content: Any, where: str) -> dict[str, Any]:
    if not isinstance(content, dict) or not isinstance(content.get("predicate"), dict):
        raise TamperError("no statement with a predicate", where=where, mend=MEND)
    try:
        canonical(content)
    except ValueError as error:
        raise TamperError(f"no statement: {first_line(error)}", where=where, mend=MEND) from error
    return content
