"""Check an MP4 or QuickTime file's index against the file's size, before memory is allocated for it.

A table of samples may state one size for all, and a count: twenty bytes then claim billions of frames. Boxes are found
where FFmpeg finds them. Format: ISO/IEC 14496-12 §8.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from worldtune.errors import DataError

CONTAINER_BOXES = frozenset(
    b"moov trak edts mdia minf stbl dinf mvex moof traf udta meta ilst wave tref sinf schi iprp gmhd clip".split()
)
"""Boxes that contain boxes."""
SAMPLE_ENTRIES = b"stsd"  # sample entries of many layouts, with boxes at their ends
TABLES = (b"stsz", b"stz2", b"trun", b"elst", b"cmov")
TRACK, TABLE_HEAD_BYTES, MAX_DEPTH = b"trak", 12, 12  # a table's counts are in its first bytes
ALWAYS_ALLOWED_EDITS, MAX_EDITED_SAMPLES = 8, 10_000_000
"""This many parts of an edit list are always read; more parts may repeat at most this many samples in all."""


@dataclass(frozen=True)
class Table:
    """A box of `TABLES`, or the beginning of a track; `head` are the first bytes after its header."""

    kind: bytes
    head: bytes


def check_index(path: Path) -> None:
    """Raise DataError if the file's tables claim more samples than its bytes can hold, or its header is compressed."""
    size = path.stat().st_size
    claimed = samples = edits = 0
    with path.open("rb") as file:
        for table in _tables(file, 0, size, 0):
            if table.kind == TRACK:
                samples = edits = 0
            elif table.kind == b"cmov":
                raise _index_error(path, "its header is compressed")
            elif table.kind == b"elst":
                edits = max(edits, _number(table.head, 4))
            else:
                count, least = _claimed_samples(table)
                samples += count
                claimed += count * least
            if claimed > size:
                raise _index_error(path, f"its index claims {samples:,} frames, more than its {size:,} bytes can hold")
            if edits > ALWAYS_ALLOWED_EDITS and edits * samples > MAX_EDITED_SAMPLES:
                raise _index_error(path, f"its edit list shows its frames {edits:,} times")


def _claimed_samples(table: Table) -> tuple[int, int]:
    """Return the number of samples, and the least number of bytes that each takes."""
    if table.kind == b"trun":
        return _number(table.head, 4), 1
    stated = _number(table.head, 4) if table.kind == b"stsz" else 1
    return _number(table.head, 8), max(stated, 1)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4])


def _tables(file: BinaryIO, begin: int, end: int, depth: int) -> Iterator[Table]:
    while begin + 8 <= end:
        file.seek(begin)
        head = file.read(16)
        size, kind, body = _number(head, 0), head[4:8], begin + 8
        if size == 1:
            size, body = int.from_bytes(head[8:16]), begin + 16
        after = end if size == 0 else min(end, begin + size)
        if 0 < size < body - begin:
            return  # FFmpeg stops here too
        if kind in TABLES:
            file.seek(body)
            yield Table(kind, file.read(min(TABLE_HEAD_BYTES, after - body)))
        elif kind in CONTAINER_BOXES and depth < MAX_DEPTH:
            if kind == TRACK:
                yield Table(kind, b"")
            yield from _tables(file, _first_child(file, kind, body, after), after, depth + 1)
        elif kind == SAMPLE_ENTRIES:
            yield from _scan_tables(file, body, after)
        begin = after


def _first_child(file: BinaryIO, kind: bytes, body: int, after: int) -> int:
    """Return where the boxes inside begin: `meta` has four bytes before them in MP4, but none in QuickTime."""
    if kind != b"meta":
        return body
    file.seek(body)
    position = file.read(min(64, after - body)).find(b"hdlr")
    return body if position < 4 else body + position - 4


def _scan_tables(file: BinaryIO, body: int, after: int) -> Iterator[Table]:
    file.seek(body)
    data = file.read(min(after - body, 1 << 20))
    for kind in TABLES:
        at = data.find(kind)
        while at >= 0:
            yield Table(kind, data[at + 4 : at + 4 + TABLE_HEAD_BYTES])
            at = data.find(kind, at + 4)


def _index_error(path: Path, what: str) -> DataError:
    return DataError(what, where=str(path), hint="Export it again.")
