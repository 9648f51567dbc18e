import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

import worldtune
from worldtune.core.code_commit import code_commit
from worldtune.training.tracking.lineage import code_diff
from worldtune.training.tracking.package_versions import installed_packages


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


def test_clean_checkout_gives_its_commit(repository: Path) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True)
    assert code_commit(repository / "package") == commit.stdout.strip()


def test_changed_checkout_is_marked(repository: Path) -> None:
    (repository / "package" / "__init__.py").write_text("changed = True\n")
    assert code_commit(repository / "package").endswith("+")


def test_code_diff_covers_changes_and_new_files(repository: Path) -> None:
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


def test_installed_packages_are_sorted_and_unique() -> None:
    lines = installed_packages().splitlines()
    assert f"torch=={version('torch')}" in lines
    assert lines == sorted(set(lines))


def test_changes_outside_the_package_do_not_count(repository: Path) -> None:
    (repository / "notes.txt").write_text("")
    assert not code_commit(repository / "package").endswith("+")


def test_package_in_an_ignored_folder_counts_as_installed(repository: Path) -> None:
    assert code_commit(repository / "venv" / "package") == "installed"


def test_package_outside_a_repository_counts_as_installed(tmp_path: Path) -> None:
    assert code_commit(tmp_path) == "installed"


def test_code_diff_covers_the_whole_package() -> None:
    (folder,) = code_diff.__defaults__ or ()
    assert folder == Path(worldtune.__file__).parent
