"""Keys: of two kinds, for their user alone, encrypted if a password is set."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.keys import default_key, load_key, make_key, public_path, read_public
from worldtune.registry.manifest import canonical
from worldtune.registry.statements import opened, sign, signed_by, statement


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256"])
def test_what_one_half_signs_the_other_confirms(tmp_path: Path, kind: str) -> None:
    made = make_key(tmp_path / "key.pem", kind)  # type: ignore[arg-type]
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    signer, public = load_key(tmp_path / "key.pem"), read_public(public_path(tmp_path / "key.pem"))
    assert signer.public_key.keyid == made.public_key.keyid == public.keyid
    content = statement({"a": "0" * 64}, "urn:a:1", {"b": 1})
    envelope = sign(content, signer)
    assert signed_by(envelope, "here") == public.keyid
    assert opened(envelope, public, "here") == content


def test_every_changed_byte_of_an_envelope_is_noticed(tmp_path: Path) -> None:
    signer = make_key(tmp_path / "key.pem")
    envelope = sign(statement({"a": "0" * 64}, "urn:a:1", {"b": 1}), signer)
    for place in range(len(envelope)):
        changed = bytearray(envelope)
        changed[place] ^= 1
        with pytest.raises(RegistryError):
            opened(bytes(changed), signer.public_key, "here")


def test_an_envelope_of_another_key_or_form_is_refused(tmp_path: Path) -> None:
    signer, other = make_key(tmp_path / "a.pem"), make_key(tmp_path / "b.pem")
    envelope = sign(statement({"a": "0" * 64}, "urn:a:1", {}), signer)
    with pytest.raises(TamperError, match="the signature does not hold"):
        opened(envelope, other.public_key, "here")
    with pytest.raises(TamperError, match="no envelope in its canonical form"):
        opened(envelope.replace(b",", b", ", 1), signer.public_key, "here")
    with pytest.raises(TamperError, match="no envelope with one signature"):
        signed_by(canonical({"signatures": []}), "here")


def test_with_a_password_it_is_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLDTUNE_KEY_PASSWORD", "correct horse")
    made = make_key(tmp_path / "key.pem")
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    assert load_key(tmp_path / "key.pem").public_key.keyid == made.public_key.keyid
    for wrong in ("wrong", ""):
        monkeypatch.setenv("WORLDTUNE_KEY_PASSWORD", wrong)
        with pytest.raises(RegistryError, match="the key cannot be read"):
            load_key(tmp_path / "key.pem")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    make_key(tmp_path / "key.pem")
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(RegistryError, match="a key is never overwritten"):
        make_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before


def test_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
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
            read_public(tmp_path / f"{number}.pub")


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(RegistryError, match="the key cannot be read"):
        load_key(tmp_path / "key")
    with pytest.raises(RegistryError, match="no public key"):
        read_public(tmp_path / "key")
    with pytest.raises(RegistryError, match="there is no key to sign with"):
        load_key(tmp_path / "none")


def test_where_ones_own_key_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert default_key() == tmp_path / "worldtune" / "key.pem"
    monkeypatch.setenv("WORLDTUNE_KEY", "/mine.pem")
    assert default_key() == Path("/mine.pem")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_private_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    make_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(mode)
    with pytest.raises(RegistryError, match=r"others may read this private key .* chmod 600"):
        load_key(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o400)
    load_key(tmp_path / "key.pem")
