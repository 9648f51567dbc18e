"""Check commit subjects: `check_commits.py` for the newest commits, `check_commits.py FILE` for a message in a file.

A subject is at most 72 characters, begins with an imperative verb in upper case, and ends without a period. Merges,
reverts and fixups keep git's own subject. Without git or without history the check passes.
"""

import re
import subprocess
import sys
from pathlib import Path

LONGEST, NEWEST = 72, 10
ROOT = Path(__file__).parents[1]
BY_GIT = re.compile(r'Merge |Revert "|fixup! |squash! |amend! ')
NOT_IMPERATIVE = re.compile(r"\w+(ed|ing|[^su]s)\b")
IMPERATIVE = {"Bring", "Embed", "Exceed", "Feed", "Need", "Proceed", "Seed", "Shed", "Speed", "Alias", "Canvas"}


def fault(subject: str) -> str | None:
    """Return the fault of a commit's subject, or None.

    >>> fault("Read folders whole: one listing, any container")
    >>> fault("Adds a reader")
    "begin with an imperative verb ('Add', not 'Adds' or 'Added'), not 'Adds'"
    """
    if BY_GIT.match(subject):
        return None
    if len(subject) > LONGEST:
        return f"{len(subject)} characters; at most {LONGEST}"
    if subject.endswith("."):
        return "ends with a period"
    first = re.match(r"[A-Z][a-z]+(?=[\s-])", subject)
    if not first:
        return "begin with a verb in upper case, followed by what it changes"
    if first[0] not in IMPERATIVE and NOT_IMPERATIVE.fullmatch(first[0]):
        return f"begin with an imperative verb ('Add', not 'Adds' or 'Added'), not '{first[0]}'"
    return None


def newest_subjects() -> list[str]:
    """Return the subjects of the newest commits, newest first; an empty list outside a git clone."""
    if not (ROOT / ".git").exists():  # an unpacked source archive, perhaps inside another repository
        return []
    command = ["git", "log", "--no-merges", f"--max-count={NEWEST}", "--format=%s"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # git is not installed
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def subject_of(path: Path) -> str:
    """Return the first line of a commit message that is not one of git's comments."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")


def main() -> None:
    """Print each fault and exit with 1 if there is any."""
    subjects = [subject_of(Path(sys.argv[1]))] if len(sys.argv) > 1 else newest_subjects()
    faults = [f"commit subject '{subject}': {why}" for subject in subjects if (why := fault(subject))]
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
