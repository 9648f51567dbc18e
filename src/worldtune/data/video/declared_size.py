"""The size that a video file declares: a file cut between two frames decodes without an error."""

from pathlib import Path
from typing import BinaryIO

from worldtune.data.video.video_file import detect_container

UNKNOWN = 0
SEGMENT = bytes.fromhex("18538067")


def declared_size(path: Path) -> int:
    """Return the bytes that the file's outermost parts claim, 0 if they do not say.

    Raise DataError as `detect_container` does, OSError if the file cannot be read.
    """
    kind, length = detect_container(path), path.stat().st_size
    with path.open("rb") as file:
        if kind == "mov":
            return _boxes(file, length)
        return _segment(file) if kind == "matroska" else _riff(file)


def _boxes(file: BinaryIO, length: int) -> int:
    """Return the size of the top-level boxes of an MP4 or QuickTime file with `ftyp` first (ISO/IEC 14496-12 §4.2)."""
    end = 0
    while len(header := file.read(16)) >= 8:
        size, kind = int.from_bytes(header[:4]), header[4:8]
        if end == 0 and kind != b"ftyp":
            return UNKNOWN
        size = int.from_bytes(header[8:]) if size == 1 else size
        if size < 8:  # 0: the box extends to the end of the file
            break
        end += size
        if end > length:
            break
        file.seek(end)
    return end


def _segment(file: BinaryIO) -> int:
    """Return the end of a Matroska or WebM file's segment (RFC 8794 §4 and §6.2; RFC 9559 §5.1), 0 if unknown."""
    file.seek(4)
    header = _element_size(file)
    if header is None:
        return UNKNOWN
    file.seek(header, 1)
    size = _element_size(file) if file.read(4) == SEGMENT else None  # a live recording states no length
    return UNKNOWN if size is None else file.tell() + size


def _element_size(file: BinaryIO) -> int | None:
    """Return an element's length, None if unknown; the first byte's leading zeros count the bytes that follow it."""
    first = file.read(1)[:1] or b"\0"
    more = 8 - first[0].bit_length()
    bits = 7 * (more + 1)
    value = int.from_bytes(first + file.read(more)) & (1 << bits) - 1
    return None if more > 7 or value == (1 << bits) - 1 else value


def _riff(file: BinaryIO) -> int:
    """Return the size of an AVI file's first RIFF chunk, without the header that only some writers count.

    Format: Microsoft, "AVI RIFF File Reference". An interrupted recording has 0 there.
    """
    return int.from_bytes(file.read(8)[4:], "little")
