"""Seeded mutations of one file: of its bytes, or of its content."""

from collections.abc import Callable
from pathlib import Path
from random import Random

from benchmarks.fuzzing.archives import mutate_safetensors, mutate_zip
from benchmarks.fuzzing.tables import mutate_hdf5, mutate_parquet
from benchmarks.fuzzing.tars import mutate_tar
from benchmarks.fuzzing.text import mutate_json, mutate_jsonl, mutate_yaml

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
    """Change the file as `draw` chooses, and return how."""
    inside = STRUCTURED.get(file.suffix)
    if inside is not None and draw.random() < 0.6:
        return inside(file, draw)
    how, data = mutate_bytes(file.read_bytes(), draw)
    file.write_bytes(data)
    return how


def mutate_bytes(data: bytes, draw: Random) -> tuple[str, bytes]:
    """Return how the bytes were changed, and the changed bytes."""
    if not data:
        return "something in an empty file", draw.choice(MAGIC)
    how = draw.choice([*BYTE_MUTATIONS])
    at = _choose_position(len(data), draw)
    return f"{how} at {at} of {len(data)}", BYTE_MUTATIONS[how](data, at, draw)


def _choose_position(length: int, draw: Random) -> int:
    """Return any position, but often one near the beginning or the end, where headers are."""
    edge = min(length, 256)
    return draw.choice(
        [draw.randrange(length), draw.randrange(length), draw.randrange(edge), length - edge + draw.randrange(edge)]
    )


def _flip_bit(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]


def _set_byte(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at] + bytes([draw.randrange(256)]) + data[at + 1 :]


def _randomize(data: bytes, at: int, draw: Random) -> bytes:
    length = draw.choice([2, 8, 64, 512])
    return data[:at] + draw.randbytes(min(length, len(data) - at)) + data[at + length :]


def _zero_out(data: bytes, at: int, draw: Random) -> bytes:
    length = draw.choice([4, 64, 4096])
    return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]


def _truncate(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at]


def _insert(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at] + draw.randbytes(draw.choice([1, 4, 64])) + data[at:]


def _delete(data: bytes, at: int, draw: Random) -> bytes:
    return data[:at] + data[at + draw.choice([1, 4, 64]) :]


def _duplicate(data: bytes, at: int, draw: Random) -> bytes:
    part = data[at : at + draw.choice([4, 64, 512, 4096])]
    return data[: at + len(part)] + part + data[at + len(part) :]


def _swap(data: bytes, at: int, draw: Random) -> bytes:
    length = draw.choice([4, 16, 256])
    first, second = sorted((at, draw.randrange(len(data))))
    if second < first + length:
        return data[at:] + data[:at]
    first_chunk, second_chunk = data[first : first + length], data[second : second + length]
    return data[:first] + second_chunk + data[first + length : second] + first_chunk + data[second + length :]


def _insert_magic(data: bytes, at: int, draw: Random) -> bytes:
    word = draw.choice(MAGIC)
    return data[:at] + word + data[at + draw.choice([0, len(word)]) :]


def _insert_extreme(data: bytes, at: int, draw: Random) -> bytes:
    length, order = draw.choice([1, 2, 4, 8]), draw.choice(["little", "big"])
    value = draw.choice(EXTREMES) % 2 ** (8 * length)
    return data[:at] + value.to_bytes(length, "little" if order == "little" else "big") + data[at + length :]


def _replace_all(data: bytes, at: int, draw: Random) -> bytes:
    return draw.choice([b"", b"\n", b"null", data * 2, data + b"\n\x00"])


BYTE_MUTATIONS: dict[str, Callable[[bytes, int, Random], bytes]] = {
    "bit flipped": _flip_bit, "byte set": _set_byte, "noise": _randomize, "zeros": _zero_out, "cut": _truncate,
    "bytes inserted": _insert,
    "bytes deleted": _delete, "chunk twice": _duplicate, "chunks swapped": _swap, "magic bytes": _insert_magic,
    "extreme number": _insert_extreme, "all replaced": _replace_all,
}  # fmt: skip
