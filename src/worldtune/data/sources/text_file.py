"""Read a text file of a dataset, in the encoding that its byte order mark states."""

import codecs
from pathlib import Path

from worldtune.core.strict_io import MIB, read_bytes
from worldtune.errors import DataError

LARGEST = 256 * MIB
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path) -> str:
    """Return the text of a file, with lines ended by "\\n".

    It is UTF-8, or what its byte order mark says (UTF-16 is what Windows calls Unicode). Raise DataError for any
    other text: the code page of an old text cannot be known.
    """
    data = read_bytes(path, LARGEST, DataError, "Replace it with a readable text file.")
    encoding = next((MARKS[mark] for mark in MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text{_looks_like(data)}"
        raise DataError(what, where=str(path), hint="Save it as UTF-8, or restore it.") from error


def _looks_like(data: bytes) -> str:
    """Return a guess at the encoding, only for the message."""
    if b"\0" in data:
        return ""
    try:
        data.decode("cp1252")
    except UnicodeDecodeError:
        return ""
    return ": it looks like Windows-1252, save it as UTF-8"
