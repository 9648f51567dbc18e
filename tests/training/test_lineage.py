import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from worldtune.training.environment import installed
from worldtune.training.lineage import code_commit, code_diff


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a package in it, and an ignored virtual environment with another."""
    for folder in ("package", "venv/package"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / ".gitignore").write_text("venv/\n")
    for command in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -q -m first"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    return tmp_path


def test_a_clean_checkout_is_its_commit(repository: Path) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    assert code_commit(repository / "package") == commit.stdout.strip()


def test_a_changed_checkout_says_so(repository: Path) -> None:
    (repository / "package" / "__init__.py").write_text("changed = True\n")
    assert code_commit(repository / "package").endswith("+")


def test_what_was_changed_has_a_digest_new_files_too(repository: Path) -> None:
    package = repository / "package"
    found = [code_diff(package)]
    (package / "__init__.py").write_text("changed = True\n")
    found.append(code_diff(package))
    (package / "new.py").write_text("")
    found.append(code_diff(package))
    (package / "new.py").write_text("changed = True\n")
    found.append(code_diff(package))
    assert found[0] is None
    assert len(set(found)) == 4
    assert code_diff(package) == found[-1]


def test_the_environment_lists_every_library_once_in_order() -> None:
    lines = installed().splitlines()
    assert f"torch=={version('torch')}" in lines
    assert lines == sorted(set(lines))


def test_changes_elsewhere_do_not_matter(repository: Path) -> None:
    (repository / "notes.txt").write_text("")
    assert not code_commit(repository / "package").endswith("+")


def test_a_package_installed_inside_somebodys_repository_is_installed(repository: Path) -> None:
    assert code_commit(repository / "venv" / "package") == "installed"


def test_without_a_repository_it_is_installed(tmp_path: Path) -> None:
    assert code_commit(tmp_path) == "installed"
