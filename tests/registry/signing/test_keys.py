"""Keys: two types, readable by their user only, encrypted if a password is set."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from worldtune.core.canonical_json import canonical_json
from worldtune.errors import RegistryError, TamperError
from worldtune.registry.signing.dsse import envelope_key_id, make_statement, sign, verify_envelope
from worldtune.registry.signing.keys import default_key_path, generate_key, load_key, public_key_path, read_public_key


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_signature_is_verified_with_the_public_key(tmp_path: Path, kind: str) -> None:
    made = generate_key(tmp_path / "key.pem", kind)  # type: ignore[arg-type]
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    signer, public = load_key(tmp_path / "key.pem"), read_public_key(public_key_path(tmp_path / "key.pem"))
    assert signer.public_key.keyid == made.public_key.keyid == public.keyid
    content = make_statement({"a": "0" * 64}, "urn:a:1", {"b": 1})
    envelope = sign(content, signer)
    assert envelope_key_id(envelope, "here") == public.keyid
    assert verify_envelope(envelope, public, "here") == content


def test_every_changed_byte_of_an_envelope_is_detected(tmp_path: Path) -> None:
    signer = generate_key(tmp_path / "key.pem")
    envelope = sign(make_statement({"a": "0" * 64}, "urn:a:1", {"b": 1}), signer)
    for place in range(len(envelope)):
        changed = bytearray(envelope)
        changed[place] ^= 1
        with pytest.raises(RegistryError):
            verify_envelope(bytes(changed), signer.public_key, "here")


def test_envelope_of_another_key_or_form_is_rejected(tmp_path: Path) -> None:
    signer, other = generate_key(tmp_path / "a.pem"), generate_key(tmp_path / "b.pem")
    envelope = sign(make_statement({"a": "0" * 64}, "urn:a:1", {}), signer)
    with pytest.raises(TamperError, match="the signature is not valid"):
        verify_envelope(envelope, other.public_key, "here")
    with pytest.raises(TamperError, match="the envelope is not in canonical form"):
        verify_envelope(envelope.replace(b",", b", ", 1), signer.public_key, "here")
    with pytest.raises(TamperError, match="not an envelope with one signature"):
        envelope_key_id(canonical_json({"signatures": []}), "here")


def test_password_encrypts_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDTUNE_KEY_PASSWORD", "correct horse")
    made = generate_key(tmp_path / "key.pem")
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    assert load_key(tmp_path / "key.pem").public_key.keyid == made.public_key.keyid
    for wrong in ("wrong", ""):
        monkeypatch.setenv("WORLDTUNE_KEY_PASSWORD", wrong)
        with pytest.raises(RegistryError, match="the key cannot be read"):
            load_key(tmp_path / "key.pem")


def test_key_file_is_never_overwritten(tmp_path: Path) -> None:
    generate_key(tmp_path / "key.pem")
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(RegistryError, match="a key is never overwritten"):
        generate_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before


def test_keys_of_other_types_are_rejected(tmp_path: Path) -> None:
    for number, private in enumerate((rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1()))):
        pem = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (tmp_path / f"{number}").write_bytes(pem)
        (tmp_path / f"{number}").chmod(0o600)
        with pytest.raises(RegistryError, match=r"neither Ed25519 nor EC P-256"):
            load_key(tmp_path / f"{number}")
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (tmp_path / f"{number}.pub").write_bytes(public)
        with pytest.raises(RegistryError, match="neither Ed25519 nor EC P-256"):
            read_public_key(tmp_path / f"{number}.pub")


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_invalid_key_is_reported(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(RegistryError, match="the key cannot be read"):
        load_key(tmp_path / "key")
    with pytest.raises(RegistryError, match="not a public key"):
        read_public_key(tmp_path / "key")
    with pytest.raises(RegistryError, match="there is no signing key"):
        load_key(tmp_path / "none")


def test_utf8_bom_of_a_public_key_is_ignored(tmp_path: Path) -> None:
    generate_key(tmp_path / "key.pem")
    path = public_key_path(tmp_path / "key.pem")
    key = read_public_key(path)
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert read_public_key(path) == key


def test_default_key_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_key_path() == tmp_path / "worldtune" / "key.pem"
    monkeypatch.setenv("WORLDTUNE_KEY", "/mine.pem")
    assert default_key_path() == Path("/mine.pem")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_private_key_readable_by_others_is_rejected(tmp_path: Path, mode: int) -> None:
    generate_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(mode)
    with pytest.raises(RegistryError, match=r"other users may read this private key .* chmod 600"):
        load_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o400)
    load_key(tmp_path / "key.pem")
