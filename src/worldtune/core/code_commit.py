"""The commit of the running code, if it is in a git checkout."""

import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def code_commit(here: Path = PACKAGE) -> str:
    """Return the commit of the checkout that holds the package at `here`, with "+" if it has changes.

    Return "installed" if no checkout holds it, "unknown: …" if git fails.
    """
    if not any((folder / ".git").exists() for folder in (here, *here.parents)):
        return "installed"
    try:
        tracked = git(here, "ls-files", "__init__.py")  # empty for a virtual environment inside a repository
        if not tracked:
            return "installed"
        return git(here, "rev-parse", "HEAD") + ("+" if git(here, "status", "--porcelain", "--", ".") else "")
    except FileNotFoundError:
        return "unknown: git is not installed"
    except subprocess.CalledProcessError as error:
        return f"unknown: {error.stderr.strip().splitlines()[0]}"


def git(here: Path, *arguments: str) -> str:
    """Return git's output in the folder `here`. Raise CalledProcessError if git fails, FileNotFoundError if absent."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
