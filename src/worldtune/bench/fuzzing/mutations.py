"""Seeded mutations of one file: its bytes, or something in what it says."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from worldtune.bench.fuzzing.archives import mutate_safetensors, mutate_zip
from worldtune.bench.fuzzing.tables import mutate_hdf5, mutate_parquet
from worldtune.bench.fuzzing.tars import mutate_tar
from worldtune.bench.fuzzing.text import mutate_json, mutate_jsonl, mutate_yaml

EXTREMES = (0, 1, -1, 2**7, 2**15 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**60, 2**63 - 1, 2**63)
MAGIC = (
    b"PK\x03\x04", b"\x1f\x8b\x08", b"\x80\x02", b"PAR1", b"\x89HDF\r\n\x1a\n", b"\x89PNG\r\n\x1a\n", b"ftypisom",
    b"ffconcat version 1.0\n", b"#EXTM3U\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00" * 16, b"\xff" * 16, b"\xed\xa0\x80",
    b"NaN", b"1e999", b"9" * 400, b"[" * 3000, b"{\"a\":" * 3000, b"\x1b]0;x\x07", b"../../", b"\r\n",
)  # fmt: skip
STRUCTURED: dict[str, Callable[[Path, Random], str]] = {
    ".json": mutate_json,
    ".jsonl": mutate_jsonl,
    ".yaml": mutate_yaml,
    ".safetensors": mutate_safetensors,
    ".pt": mutate_zip,
    ".tar": mutate_tar,
    ".parquet": mutate_parquet,
    ".hdf5": mutate_hdf5,
}


def mutate(file: Path, draw: Random) -> str:
    """Change the file by what `draw` gives, and say how."""
    inside = STRUCTURED.get(file.suffix)
    if inside is not None and draw.random() < 0.6:
        return inside(file, draw)
    how, data = mutate_bytes(file.read_bytes(), draw)
    file.write_bytes(data)
    return how


def mutate_bytes(data: bytes, draw: Random) -> tuple[str, bytes]:
    """Other bytes, and how they came about."""
    if not data:
        return "something in an empty file", draw.choice(MAGIC)
    how = draw.choice([*BYTE_MUTATIONS])
    at = _place(len(data), draw)
    return f"{how} at {at} of {len(data)}", BYTE_MUTATIONS[how](data, at, draw)


def _place(length: int, draw: Random) -> int:
    """Anywhere, but often near the beginning or the end, where headers are."""
    near = min(length, 256)
    return draw.choice(
        [draw.randrange(length), draw.randrange(length), draw.randrange(near), length - near + draw.randrange(near)]
    )


def _flip(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _set(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def _noise(data: bytes, at: int, draw: Random) -> bytes:
    length = draw.choice([2, 8, 64, 512])
    return data[:at] + draw.randbytes(min(length, len(data) - at)) + data[at + length :]


def _zeros(data: bytes, at: int, draw: Random) -> bytes:
    length = draw.choice([4, 64, 4096])
    return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]


def _cut(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at]


def _inserted(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at] + draw.randbytes(draw.choice([1, 4, 64])) + data[at:]


def _deleted(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at] + data[at + draw.choice([1, 4, 64]) :]


def _twice(data: bytes, at: int, draw: Random) -> bytes:
    part = data[at : at + draw.choice([4, 64, 512, 4096])]
    return data[: at + len(part)] + part + data[at + len(part) :]


def _swapped(data: bytes, at: int, draw: Random) -> bytes:
    length = draw.choice([4, 16, 256])
    first, second = sorted((at, draw.randrange(len(data))))
    if second < first + length:
        return data[at:] + data[:at]
    one, other = data[first : first + length], data[second : second + length]
    return data[:first] + other + data[first + length : second] + one + data[second + length :]


def _magic(data: bytes, at: int, draw: Random) -> bytes:
    word = draw.choice(MAGIC)
    return data[:at] + word + data[at + draw.choice([0, len(word)]) :]


def _extreme(data: bytes, at: int, draw: Random) -> bytes:
    length, order = draw.choice([1, 2, 4, 8]), draw.choice(["little", "big"])
    value = draw.choice(EXTREMES) % 2 ** (8 * length)
    return data[:at] + value.to_bytes(length, "little" if order == "little" else "big") + data[at + length :]


def _empty(data: bytes, at: int, draw: Random) -> bytes:
    return draw.choice([b"", b"\n", b"null", data * 2, data + b"\n\x00"])


BYTE_MUTATIONS: dict[str, Callable[[bytes, int, Random], bytes]] = {
    "bit flipped": _flip, "byte set": _set, "noise": _noise, "zeros": _zeros, "cut": _cut, "bytes inserted": _inserted,
    "bytes deleted": _deleted, "chunk twice": _twice, "chunks swapped": _swapped, "magic bytes": _magic,
    "extreme number": _extreme, "all replaced": _empty,
}  # fmt: skip
