"""OpenSSF model signing: signatures are valid in its own tool too, and added files invalidate them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.exchange.openssf import check_signature, sign_release
from worldtune.registry.releases.add import add_release
from worldtune.registry.releases.checkout import resolve_adapter

from ..conftest import NAME, Team


@pytest.fixture
def signed(local: Team, tmp_path: Path) -> Path:
    """A release's files in a writable folder, with the signature beside it."""
    add_release(local.registry, local["sam"], NAME, local.another())
    key = local.registry.folder / "keys" / "bob.pem"
    sign_release(local.registry, f"{NAME}@1", key, tmp_path / "model.sig")
    shutil.copytree(resolve_adapter(f"{NAME}@1", pytest.fail, local.registry.folder).path, tmp_path / "files")
    for path in (tmp_path / "files").iterdir():
        path.chmod(0o644)
    return tmp_path / "files"


def check(local: Team, files: Path, person: str = "bob") -> None:
    check_signature(files, files.parent / "model.sig", local.registry.folder / "keys" / f"{person}.pem.pub")


def test_signature_is_valid_here_and_in_the_openssf_tool(local: Team, signed: Path) -> None:
    check(local, signed)
    public = str(local.registry.folder / "keys" / "bob.pem.pub")
    command = ["verify", "key", "--public_key", public, "--signature", str(signed.parent / "model.sig"), str(signed)]
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("planted", ["more.json", ".git/x.py", ".gitignore", ".github/x.yml"])
def test_added_file_invalidates_the_signature(local: Team, signed: Path, planted: str) -> None:
    (signed / planted).parent.mkdir(exist_ok=True)
    (signed / planted).write_text("x")
    with pytest.raises(TamperError, match="the signature is not valid"):
        check(local, signed)


def test_changed_files_or_another_key_are_rejected(local: Team, signed: Path) -> None:
    card = signed / "adapter.json"
    card.write_bytes(card.read_bytes() + b" ")
    with pytest.raises(TamperError, match="the signature is not valid"):
        check(local, signed)


def test_openssf_rejects_keys_that_are_not_ec(local: Team, signed: Path) -> None:
    with pytest.raises(RegistryError, match="accepts EC keys only"):
        sign_release(local.registry, f"{NAME}@1", local.registry.folder / "keys" / "sam.pem", signed.parent / "x.sig")
