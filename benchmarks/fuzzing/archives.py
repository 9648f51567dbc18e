"""Mutations of the content of archives: members of zips, and the header of a safetensors file."""

import json
import warnings
import zipfile
from pathlib import Path
from random import Random

from benchmarks.fuzzing.text import change_json

NAMES = ("../x", "/tmp/x", "./", "x" * 300, "é", "a\x00b", "\ud800", "CON", " ", "a//b")


def mutate_safetensors(file: Path, draw: Random) -> str:
    """Change something in the header, or in the JSON in its metadata; correct its length."""
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    metadata = header.get("__metadata__", {})
    nested = [key for key, value in metadata.items() if value.startswith("{")]
    if nested and draw.random() < 0.4:
        how, metadata[nested[0]] = change_json(metadata[nested[0]], draw)
        text = json.dumps(header)
    else:
        how, text = change_json(json.dumps(header), draw)
    content = text.encode("utf-8", "surrogatepass")
    content += b" " * (-len(content) % 8)
    file.write_bytes(len(content).to_bytes(8, "little") + content + data[end:])
    return how


def mutate_zip(file: Path, draw: Random) -> str:
    """Change a member and correct the checksums."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    except zipfile.BadZipFile:  # an older file of torch's is not a zip
        return mutate_content(file, draw)
    at, other = draw.randrange(len(members)), draw.randrange(len(members))
    name, data = members[at]
    what = draw.choice(["gone", "twice", "renamed", "content", "content", "content", "swapped", "packed"])
    if what == "gone":
        del members[at]
    elif what == "twice":
        members.append((name, change_bytes(data, draw)))
    elif what == "renamed":
        members[at] = (draw.choice([*NAMES[:5], members[other][0], f"{name}0"]), data)
    elif what == "content":
        members[at] = (name, change_bytes(data, draw))
    elif what == "swapped":
        members[at], members[other] = (name, members[other][1]), (members[other][0], data)
    packing = zipfile.ZIP_DEFLATED if what == "packed" else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", packing) as archive:
        warnings.simplefilter("ignore")  # about a name that exists twice
        for member, content in members:
            archive.writestr(member, content)
    return f"{name} {what}"


def mutate_content(file: Path, draw: Random) -> str:
    """Change bytes of the file."""
    file.write_bytes(change_bytes(file.read_bytes(), draw))
    return "bytes"


def change_bytes(data: bytes, draw: Random) -> bytes:
    """Return the data with a few bytes changed, added or removed."""
    if not data:
        return b"x"
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 4])):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return draw.choice([bytes(changed), bytes(changed), bytes(changed), data[: len(data) // 2], data * 2, b""])
