"""Recognize Git LFS pointers: short text files in place of large files that `git lfs pull` has not fetched.

Format: github.com/git-lfs/git-lfs, docs/spec.md. The first releases wrote another URL.
"""

from pathlib import Path

POINTER_PREFIXES = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
MAX_POINTER_BYTES = 1024  # bytes
POINTER_MESSAGE = "a Git LFS pointer, not the file itself: run `git lfs pull`"
PULL_HINT = "Run `git lfs pull` in the repository of the file."


def is_pointer_content(content: bytes) -> bool:
    """Return whether a file that begins with these bytes is a pointer."""
    return content.startswith(POINTER_PREFIXES)


def is_pointer(path: Path) -> bool:
    """Return whether a regular file is a pointer. Raise OSError if it cannot be opened."""
    if path.stat().st_size > MAX_POINTER_BYTES:
        return False
    with path.open("rb") as file:
        return is_pointer_content(file.read(max(map(len, POINTER_PREFIXES))))
