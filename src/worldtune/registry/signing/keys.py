"""Signing keys: Ed25519 or EC P-256, one PEM file each; a key's id is its fingerprint."""

import os
import stat
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from worldtune.core.files import make_folder
from worldtune.errors import RegistryError, first_line

KeyType = Literal["ed25519", "ecdsa-p256"]
PASSWORD_VARIABLE = "WORLDTUNE_KEY_PASSWORD"
KEY_VARIABLE = "WORLDTUNE_KEY"


def default_key_path() -> Path:
    """Return the file in WORLDTUNE_KEY, else `worldtune/key.pem` in $XDG_CONFIG_HOME (default ~/.config)."""
    named = os.environ.get(KEY_VARIABLE)
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(named) if named else Path(folder) / "worldtune" / "key.pem"


def generate_key(path: Path, kind: KeyType = "ed25519") -> CryptoSigner:
    """Write a new key to `path`, readable by its user only, and its public half to a `.pub` file beside it.

    The key is encrypted if WORLDTUNE_KEY_PASSWORD is set. Raise RegistryError if the file exists.
    """
    private: Any = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(SECP256R1())
    secret = read_password()
    cipher = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher)
    make_folder(path.parent)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except FileExistsError as error:
        what = "the file already exists; a key is never overwritten"
        raise RegistryError(what, where=str(path), hint="Choose another path.") from error
    signer = CryptoSigner(private)
    public_key_path(path).write_text(public_pem(signer.public_key))
    return signer


def public_key_path(path: Path) -> Path:
    """Return the path of the public half of the key in `path`."""
    return path.with_name(path.name + ".pub")


def load_key(path: Path) -> CryptoSigner:
    """Return the key in a file. Raise RegistryError if it is missing, needs another password, or is of another kind."""
    if not path.is_file():
        hint = "Create one with `worldtune registry key`, or name yours with --key or WORLDTUNE_KEY."
        raise RegistryError("there is no signing key", where=str(path), hint=hint)
    try:
        private = serialization.load_pem_private_key(_read_private(path), read_password())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = f"the key cannot be read: {first_line(error)}"
        raise RegistryError(what, where=str(path), hint=f"Set {PASSWORD_VARIABLE}, or name another key.") from error
    if not _is_supported(private):
        hint = "Create one with `worldtune registry key`."
        raise RegistryError("the key is neither Ed25519 nor EC P-256", where=str(path), hint=hint)
    return CryptoSigner(private)


def _read_private(path: Path) -> bytes:
    """Return the content of a private key file. Raise RegistryError if it is unreadable or others may read it."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                what = "other users may read this private key"
                hint = f"chmod 600 {path}; if someone may have read it, have it retired as stolen."
                raise RegistryError(what, where=str(path), hint=hint)
            return file.read()
    except OSError as error:
        what = f"the key cannot be read: {error.strerror}"
        raise RegistryError(what, where=str(path), hint="Correct the file's permissions.") from error


def _is_supported(private: object) -> bool:
    if isinstance(private, EllipticCurvePrivateKey):
        return isinstance(private.curve, SECP256R1)
    return isinstance(private, Ed25519PrivateKey)


def public_pem(key: SSlibKey) -> str:
    """Return the key as PEM text; securesystemslib stores Ed25519 as hexadecimal digits."""
    stated = str(key.keyval["public"])
    if key.keytype != "ed25519":
        return stated
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(stated))
    return raw.public_bytes(serialization.Encoding.PEM, form).decode()


def read_public_key(path: Path) -> SSlibKey:
    """Return the public key in a file. Raise RegistryError if there is none."""
    try:
        return parse_public_key(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        what = f"not a public key: {first_line(error)}"
        raise RegistryError(what, where=str(path), hint="Give the .pub file that `registry key` wrote.") from error


def parse_public_key(pem: str) -> SSlibKey:
    """Return the key of a PEM text; its id is the fingerprint. Raise ValueError if it is no key of a supported kind."""
    try:
        key = SSlibKey.from_crypto(serialization.load_pem_public_key(pem.encode()))
    except UnsupportedAlgorithm as error:
        raise ValueError(first_line(error)) from error
    if (key.keytype, key.scheme) not in (("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256")):
        raise ValueError(f"{key.keytype} {key.scheme} is neither Ed25519 nor EC P-256")
    return key


def read_password() -> bytes | None:
    """Return the password in WORLDTUNE_KEY_PASSWORD, or None."""
    return os.environ[PASSWORD_VARIABLE].encode() if os.environ.get(PASSWORD_VARIABLE) else None
