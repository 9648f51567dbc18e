"""OpenSSF's model signing: what it signed holds, in its own tool too, and nothing may be added."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worldtune.errors import RegistryError, TamperError
from worldtune.registry.add import add
from worldtune.registry.openssf import check_signature, sign_release
from worldtune.registry.use import use

from .conftest import NAME, Team


@pytest.fixture
def signed(local: Team, tmp_path: Path) -> Path:
    """A release's files in a folder that may be written, its signature beside it."""
    add(local.registry, local["sam"], NAME, local.another())
    key = local.registry.folder / "keys" / "bob.pem"
    sign_release(local.registry, f"{NAME}@1", key, tmp_path / "model.sig")
    shutil.copytree(use(f"{NAME}@1", pytest.fail, local.registry.folder).path, tmp_path / "files")
    for path in (tmp_path / "files").iterdir():
        path.chmod(0o644)
    return tmp_path / "files"


def check(local: Team, files: Path, person: str = "bob") -> None:
    check_signature(files, files.parent / "model.sig", local.registry.folder / "keys" / f"{person}.pem.pub")


def test_it_holds_here_and_in_the_tool_itself(local: Team, signed: Path) -> None:
    check(local, signed)
    public = str(local.registry.folder / "keys" / "bob.pem.pub")
    command = ["verify", "key", "--public_key", public, "--signature", str(signed.parent / "model.sig"), str(signed)]
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("planted", ["more.json", ".git/x.py", ".gitignore", ".github/x.yml"])
def test_nothing_may_be_added_not_where_the_tool_does_not_look(local: Team, signed: Path, planted: str) -> None:
    (signed / planted).parent.mkdir(exist_ok=True)
    (signed / planted).write_text("x")
    with pytest.raises(TamperError, match="the signature does not hold"):
        check(local, signed)


def test_what_was_changed_or_is_another_key_is_refused(local: Team, signed: Path) -> None:
    card = signed / "adapter.json"
    card.write_bytes(card.read_bytes() + b" ")
    with pytest.raises(TamperError, match="the signature does not hold"):
        check(local, signed)


def test_keys_that_it_does_not_take_are_refused(local: Team, signed: Path) -> None:
    with pytest.raises(RegistryError, match="takes EC keys only"):
        sign_release(local.registry, f"{NAME}@1", local.registry.folder / "keys" / "sam.pem", signed.parent / "x.sig")
