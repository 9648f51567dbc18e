"""Mutations of the members of a tar, and of their headers."""

import tarfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Literal

from benchmarks.fuzzing.archives import NAMES, change_bytes

Member = tuple[tarfile.TarInfo, bytes]
FORMS: tuple[Literal[0, 1, 2], ...] = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
KINDS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE)


def mutate_tar(file: Path, draw: Random) -> str:
    """Change a member of a tar, or its header."""
    members = read_members(file)
    at, other = draw.randrange(len(members)), draw.randrange(len(members))
    name = members[at][0].name
    what = draw.choice([*TAR_MUTATIONS])
    TAR_MUTATIONS[what](members, at, other, draw)
    write_members(file, members, draw.choice(FORMS))
    return f"{name:.30} {what}"


def read_members(file: Path) -> list[Member]:
    """Return the plain files of a tar."""
    members = []
    with tarfile.open(file) as tar:
        for entry in tar.getmembers():
            reading = tar.extractfile(entry)
            members.append((entry, reading.read() if reading else b""))
    return members


def write_members(file: Path, members: list[Member], form: Literal[0, 1, 2] = tarfile.USTAR_FORMAT) -> None:
    """Write a tar of these members; headers and sizes are written as given, even if they are wrong."""
    with file.open("wb") as writing:
        for entry, data in members:
            try:
                header = entry.tobuf(form, "utf-8", "surrogatepass")
            except (ValueError, UnicodeError):
                header = entry.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogatepass")
            writing.write(header + data + bytes(-len(data) % tarfile.BLOCKSIZE))
        writing.write(bytes(2 * tarfile.BLOCKSIZE))


def _rename(members: list[Member], at: int, other: int, draw: Random) -> None:
    old_name = members[at][0].name
    members[at][0].name = draw.choice(
        [*NAMES, members[other][0].name, old_name.upper(), f"./{old_name}", f"{old_name}/", old_name[:-1] + "0"]
    )


def _change_type(members: list[Member], at: int, other: int, draw: Random) -> None:
    entry = members[at][0]
    entry.type, entry.linkname = draw.choice(KINDS), draw.choice([members[other][0].name, "/etc/passwd", "../x"])


def _resize(members: list[Member], at: int, other: int, draw: Random) -> None:
    members[at][0].size = draw.choice([0, 1, members[at][0].size + 512, 2**33, 2**40, 2**62])


def _make_sparse(members: list[Member], at: int, other: int, draw: Random) -> None:
    """Claim a file of 3 GiB in a few bytes, as GNU's tar of PAX format 0.1 does."""
    size = str(3 << 30)
    members[at][0].pax_headers = {"GNU.sparse.size": size, "GNU.sparse.numblocks": "1", "GNU.sparse.map": "0,1"}


def _add_headers(members: list[Member], at: int, other: int, draw: Random) -> None:
    key = draw.choice(["size", "path", "linkpath", "mtime", "uid", "comment"])
    members[at][0].pax_headers = {key: draw.choice(["-1", "1e999", "9" * 400, "x", "../x", "0"])}


def _change_content(members: list[Member], at: int, other: int, draw: Random) -> None:
    entry, data = members[at]
    data = change_bytes(data, draw)
    entry.size = len(data)
    members[at] = (entry, data)


def _touch(members: list[Member], at: int, other: int, draw: Random) -> None:
    """Change fields that a release does not depend on."""
    entry = members[at][0]
    entry.mtime, entry.mode, entry.uid, entry.uname = draw.choice([1, 2**33]), 0o4777, 1000, "somebody"


def _add_member(members: list[Member], at: int, other: int, draw: Random) -> None:
    entry = tarfile.TarInfo(draw.choice([*NAMES, "README", f"blobs/sha256/{'0' * 64}"]))
    members.insert(draw.choice([0, len(members)]), (entry, b""))


TAR_MUTATIONS: dict[str, Callable[[list[Member], int, int, Random], None]] = {
    "gone": lambda members, at, other, draw: members.__delitem__(at),
    "twice": lambda members, at, other, draw: members.append(members[at]),
    "moved": lambda members, at, other, draw: members.insert(other, members.pop(at)),
    "renamed": _rename,
    "of another kind": _change_type,
    "resized": _resize,
    "sparse": _make_sparse,
    "with headers": _add_headers,
    "content": _change_content,
    "touched": _touch,
    "added": _add_member,
}
