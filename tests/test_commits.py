"""The check of commit subjects, in real git repositories."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "check_commits.py"


def git(folder: Path, *words: str) -> None:
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *author, *words], cwd=folder, check=True, capture_output=True)


def checked(folder: Path, *words: str) -> tuple[int, str]:
    copy = folder / ".ci" / SCRIPT.name
    copy.parent.mkdir(exist_ok=True)
    shutil.copy(SCRIPT, copy)
    done = subprocess.run([sys.executable, copy, *words], cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "clone")
    return tmp_path / "clone"


def test_folder_without_git_history_passes(tmp_path: Path, clone: Path) -> None:
    (tmp_path / "tar").mkdir()
    assert checked(tmp_path / "tar") == (0, "")
    assert checked(clone) == (0, "")


def test_bad_subject_among_the_newest_commits_is_named(clone: Path) -> None:
    git(clone, "commit", "--allow-empty", "-m", "Read episodes in order\n\nBody with a period.")
    assert checked(clone) == (0, "")
    git(clone, "commit", "--allow-empty", "-m", "Adds a reader")
    git(clone, "commit", "--allow-empty", "-m", "Write the table")
    code, text = checked(clone)
    assert code == 1
    assert text.startswith("commit subject 'Adds a reader': begin with an imperative verb")
    assert len(text.splitlines()) == 1


def test_shallow_clone_is_checked(tmp_path: Path, clone: Path) -> None:
    for subject in ("Added a reader", "Read episodes in order"):
        git(clone, "commit", "--allow-empty", "-m", subject)
    git(tmp_path, "clone", "-q", "--depth", "1", clone.as_uri(), "shallow")
    assert checked(clone)[0] == 1
    assert checked(tmp_path / "shallow") == (0, "")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("Pass the seed on\n", 0),
        ("# a comment of git\nFocus the camera\n", 0),
        ("Merge branch 'readers'\n", 0),
        ('Revert "adds something."\n', 0),
        ("x" * 73 + "\n", 1),
        ("Read " + "x" * 67 + "\n", 0),
        ("Read " + "x" * 68 + "\n", 1),
        ("Fix the reader.\n", 1),
        ("fix the reader\n", 1),
        ("Fixing the reader\n", 1),
        ("Fixed the reader\n", 1),
        ("Reader\n", 1),
        ("\n", 1),
    ],
)
def test_message_file_is_checked(tmp_path: Path, message: str, code: int) -> None:
    path = tmp_path / "COMMIT_EDITMSG"
    path.write_text(message)
    assert checked(tmp_path, str(path))[0] == code
