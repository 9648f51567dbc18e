"""Keys that people sign with: Ed25519 or EC P-256, in PEM files of their own; a key's id is its fingerprint."""

import os
import stat
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from worldtune.errors import RegistryError, first_line
from worldtune.files import make_folder

Kind = Literal["ed25519", "ecdsa-p256"]
PASSWORD = "WORLDTUNE_KEY_PASSWORD"
KEY = "WORLDTUNE_KEY"


def default_key() -> Path:
    """The file that WORLDTUNE_KEY names, else `worldtune/key.pem` in $XDG_CONFIG_HOME (default ~/.config)."""
    named = os.environ.get(KEY)
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(named) if named else Path(folder) / "worldtune" / "key.pem"


def make_key(path: Path, kind: Kind = "ed25519") -> CryptoSigner:
    """A new key in `path`, for its user alone, and its public half beside it in `.pub`.

    It is encrypted when WORLDTUNE_KEY_PASSWORD is set. Raises RegistryError when there is a file already.
    """
    private: Any = Ed25519PrivateKey.generate() if kind == "ed25519" else generate_private_key(SECP256R1())
    secret = password()
    cipher = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, cipher)
    make_folder(path.parent)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)
    except FileExistsError as error:
        what = "there is a file already: a key is never overwritten"
        raise RegistryError(what, where=str(path), mend="Choose another path.") from error
    signer = CryptoSigner(private)
    public_path(path).write_text(public_pem(signer.public_key))
    return signer


def public_path(path: Path) -> Path:
    """Where the public half of the key in `path` is."""
    return path.with_name(path.name + ".pub")


def load_key(path: Path) -> CryptoSigner:
    """Raises RegistryError when there is no key, it needs another password, or is of a kind that is not used."""
    if not path.is_file():
        mend = "Make one by `worldtune registry key`, or name yours by --key or WORLDTUNE_KEY."
        raise RegistryError("there is no key to sign with", where=str(path), mend=mend)
    try:
        private = serialization.load_pem_private_key(_read_private(path), password())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        what = f"the key cannot be read: {first_line(error)}"
        raise RegistryError(what, where=str(path), mend=f"Set {PASSWORD}, or name another key.") from error
    if not _is_used(private):
        raise RegistryError("the key is neither Ed25519 nor EC P-256", where=str(path), mend="Make one anew.")
    return CryptoSigner(private)


def _read_private(path: Path) -> bytes:
    """The file of a private key. Raises RegistryError when it cannot be read, or others may read it too."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                what = "others may read this private key"
                mend = f"chmod 600 {path}; if they may have read it, have it retired as stolen."
                raise RegistryError(what, where=str(path), mend=mend)
            return file.read()
    except OSError as error:
        raise RegistryError(f"the key cannot be read: {error.strerror}", where=str(path), mend="Correct it.") from error


def _is_used(private: object) -> bool:
    if isinstance(private, EllipticCurvePrivateKey):
        return isinstance(private.curve, SECP256R1)
    return isinstance(private, Ed25519PrivateKey)


def public_pem(key: SSlibKey) -> str:
    """The key as a PEM text; securesystemslib keeps Ed25519 as hexadecimal digits."""
    stated = str(key.keyval["public"])
    if key.keytype != "ed25519":
        return stated
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    raw = Ed25519PublicKey.from_public_bytes(bytes.fromhex(stated))
    return raw.public_bytes(serialization.Encoding.PEM, form).decode()


def read_public(path: Path) -> SSlibKey:
    """The public key in a file. Raises RegistryError when there is none."""
    try:
        return public_key(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        what = f"no public key: {first_line(error)}"
        raise RegistryError(what, where=str(path), mend="Give the .pub file that `registry key` wrote.") from error


def public_key(pem: str) -> SSlibKey:
    """The key of a PEM text, its id the fingerprint of that. Raises ValueError for what is none, or of another kind."""
    try:
        key = SSlibKey.from_crypto(serialization.load_pem_public_key(pem.encode()))
    except UnsupportedAlgorithm as error:
        raise ValueError(first_line(error)) from error
    if (key.keytype, key.scheme) not in (("ed25519", "ed25519"), ("ecdsa", "ecdsa-sha2-nistp256")):
        raise ValueError(f"{key.keytype} {key.scheme} is neither Ed25519 nor EC P-256")
    return key


def password() -> bytes | None:
    """What WORLDTUNE_KEY_PASSWORD says."""
    return os.environ[PASSWORD].encode() if os.environ.get(PASSWORD) else None
