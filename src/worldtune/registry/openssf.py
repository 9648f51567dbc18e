"""A release signed as OpenSSF's model signing does it, for whoever checks models with that tool (extra `openssf`).

Source: https://github.com/sigstore/model-transparency. By default that tool leaves out what lies in .git folders, when
it signs and when it verifies; here nothing is left out.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from worldtune.errors import RegistryError, TamperError, first_line
from worldtune.registry.keys import load_key, password
from worldtune.registry.registry import Registry
from worldtune.registry.releases import resolve
from worldtune.registry.use import checkout

SIGNATURE = "model.sig"


def check_can_sign(key: Path) -> None:
    """Raises RegistryError without the extra, or for a key that is not EC."""
    _library("signing")
    if load_key(key).public_key.keytype != "ecdsa":
        mend = "Make one: worldtune registry key --kind ecdsa-p256."
        raise RegistryError("OpenSSF's model signing takes EC keys only", where=str(key), mend=mend)


def sign_release(registry: Registry, text: str, key: Path, target: Path) -> None:
    """Write the signature of a release's files. Raises RegistryError as `check_can_sign` does."""
    check_can_sign(key)
    signing, hashing = _library("signing"), _library("hashing")
    with registry.view() as state:
        found = resolve(state, text)
    config = signing.Config().set_hashing_config(_strict(hashing))
    config.use_elliptic_key_signer(private_key=key, password=password())
    config.sign(checkout(registry, found), target)


def check_signature(folder: Path, signature: Path, public: Path) -> None:
    """Raises TamperError unless the folder's files are exactly those that the key's owner signed."""
    verifying, hashing = _library("verifying"), _library("hashing")
    config = verifying.Config().set_hashing_config(_strict(hashing))
    try:
        config.use_elliptic_key_verifier(public_key=public).verify(folder, signature)
    except (ValueError, OSError) as error:
        mend = "Take the release anew from where it was signed."
        raise TamperError(f"the signature does not hold: {first_line(error)}", where=str(folder), mend=mend) from error


def _strict(hashing: Any) -> Any:
    """A new configuration each time: it keeps what it is told to leave out."""
    return hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)


def _library(part: str) -> Any:
    try:
        return import_module(f"model_signing.{part}")
    except ImportError as error:
        mend = "pip install 'worldtune[openssf]'."
        raise RegistryError(f"model-signing is not installed: {first_line(error)}", where=part, mend=mend) from error
