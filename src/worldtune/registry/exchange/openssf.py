"""Sign a release with OpenSSF model signing, for users of that tool (extra `openssf`).

Source: https://github.com/sigstore/model-transparency. By default that tool skips .git folders when it signs and
verifies; here nothing is skipped.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from worldtune.errors import RegistryError, TamperError, first_line
from worldtune.registry.log.resolve import resolve
from worldtune.registry.registry import Registry
from worldtune.registry.releases.checkout import checkout
from worldtune.registry.signing.keys import load_key, read_password

SIGNATURE_FILE = "model.sig"


def check_can_sign(key: Path) -> None:
    """Raise RegistryError if the extra is not installed or the key is not EC."""
    _import_library("signing")
    if load_key(key).public_key.keytype != "ecdsa":
        hint = "Create one with worldtune registry key --kind ecdsa-p256."
        raise RegistryError("OpenSSF model signing accepts EC keys only", where=str(key), hint=hint)


def sign_release(registry: Registry, text: str, key: Path, target: Path) -> None:
    """Write the signature of a release's files to `target`. Raise RegistryError as `check_can_sign` does."""
    check_can_sign(key)
    signing, hashing = _import_library("signing"), _import_library("hashing")
    with registry.view() as state:
        found = resolve(state, text)
    config = signing.Config().set_hashing_config(_strict_hashing(hashing))
    config.use_elliptic_key_signer(private_key=key, password=read_password())
    config.sign(checkout(registry, found), target)


def check_signature(folder: Path, signature: Path, public: Path) -> None:
    """Raise TamperError unless the folder holds exactly the files that the key's owner signed."""
    verifying, hashing = _import_library("verifying"), _import_library("hashing")
    config = verifying.Config().set_hashing_config(_strict_hashing(hashing))
    try:
        config.use_elliptic_key_verifier(public_key=public).verify(folder, signature)
    except (ValueError, OSError) as error:
        hint = "Get the release again from its signer."
        raise TamperError(f"the signature is not valid: {first_line(error)}", where=str(folder), hint=hint) from error


def _strict_hashing(hashing: Any) -> Any:
    """Return a new configuration, because the library's objects keep the paths that they ignored before."""
    return hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)


def _import_library(part: str) -> Any:
    try:
        return import_module(f"model_signing.{part}")
    except ImportError as error:
        hint = "Run pip install 'worldtune[openssf]'."
        raise RegistryError(f"model-signing is not installed: {first_line(error)}", where=part, hint=hint) from error
