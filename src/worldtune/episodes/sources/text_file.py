"""Read a text file of a dataset as what lies on the disk, and no more than a text can be."""

import errno
import os
import stat
from pathlib import Path

from worldtune.errors import DataError

LARGEST = 1 << 28  # bytes


def read_bytes(path: Path) -> bytes:
    """Return the file's bytes, as many as its folder says that it has.

    A pipe, a device, or a file that the system makes while it is read (a link may lead to /proc) has none. Raises
    DataError for these and for a file larger than `LARGEST`, OSError if the file cannot be opened.
    """
    state = path.stat()
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(state.st_mode):
        raise _fault(path, "not a file")
    if state.st_size > LARGEST:
        raise _fault(path, f"{state.st_size:,} bytes are no text of a dataset")
    with path.open("rb") as file:
        data = file.read(state.st_size + 1)
    if len(data) != state.st_size:
        raise _fault(path, "the file has another size than its folder says")
    return data


def _fault(path: Path, what: str) -> DataError:
    return DataError(what, where=str(path), mend="Put a text file there, or wait until it is written.")
