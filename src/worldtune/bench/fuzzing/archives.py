"""Mutations of what archives hold: members of zips, and the header of a safetensors file."""

import json
import warnings
import zipfile
from pathlib import Path
from random import Random

from worldtune.bench.fuzzing.text import changed_json

NAMES = ("../x", "/tmp/x", "./", "x" * 300, "é", "a\x00b", "\ud800", "CON", " ", "a//b")


def mutate_safetensors(file: Path, draw: Random) -> str:
    """Change something that the header says, or the JSON in its metadata; its length is set right."""
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    metadata = header.get("__metadata__", {})
    nested = [key for key, value in metadata.items() if value.startswith("{")]
    if nested and draw.random() < 0.4:
        how, metadata[nested[0]] = changed_json(metadata[nested[0]], draw)
        text = json.dumps(header)
    else:
        how, text = changed_json(json.dumps(header), draw)
    content = text.encode("utf-8", "surrogatepass")
    content += b" " * (-len(content) % 8)
    file.write_bytes(len(content).to_bytes(8, "little") + content + data[end:])
    return how


def mutate_zip(file: Path, draw: Random) -> str:
    """Change a member, with checksums that are right again."""
    try:
        with zipfile.ZipFile(file) as opened:
            members = [(entry.filename, opened.read(entry)) for entry in opened.infolist()]
    except zipfile.BadZipFile:  # an older file of torch's is none
        return mutate_content(file, draw)
    at, other = draw.randrange(len(members)), draw.randrange(len(members))
    name, data = members[at]
    what = draw.choice(["gone", "twice", "renamed", "content", "content", "content", "swapped", "packed"])
    if what == "gone":
        del members[at]
    elif what == "twice":
        members.append((name, other_bytes(data, draw)))
    elif what == "renamed":
        members[at] = (draw.choice([*NAMES[:5], members[other][0], f"{name}0"]), data)
    elif what == "content":
        members[at] = (name, other_bytes(data, draw))
    elif what == "swapped":
        members[at], members[other] = (name, members[other][1]), (members[other][0], data)
    packing = zipfile.ZIP_DEFLATED if what == "packed" else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", packing) as opened:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for member, content in members:
            opened.writestr(member, content)
    return f"{name} {what}"


def mutate_content(file: Path, draw: Random) -> str:
    """Change bytes of the file."""
    file.write_bytes(other_bytes(file.read_bytes(), draw))
    return "bytes"


def other_bytes(data: bytes, draw: Random) -> bytes:
    """A few bytes others, more, or less."""
    if not data:
        return b"x"
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 4])):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return draw.choice([bytes(changed), bytes(changed), bytes(changed), data[: len(data) // 2], data * 2, b""])
