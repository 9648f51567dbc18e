"""Checks of a ROS recording's files before the `rosbags` package reads them.

A view in a database is a program that may never end. A name with `%2e` means another file if it is read as a URI. All
files that the metadata list must be among the files whose digest identifies the recording.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from worldtune.core.files import scratch_folder
from worldtune.core.strict_io import read_yaml
from worldtune.data.sources.rosbag.limits import HINT, LARGEST, MAX_COMPRESSION_RATIO
from worldtune.errors import DataError, first_line


def check_files(bag: Path, files: Sequence[Path]) -> None:
    """Raise DataError if a file of the recording would make the package read or do something unexpected."""
    if bag.is_dir():
        _check_metadata(bag / "metadata.yaml", files)
    for file in files:
        if not file.is_file():  # a pipe would wait for a writer
            raise DataError("not a file", where=str(file), hint=HINT)
        if file.suffix == ".db3":
            _check_database(file)
        elif file.suffix == ".zstd":
            with _unpack(file) as unpacked:
                if unpacked.suffix == ".db3":
                    _check_database(unpacked)


def _check_metadata(path: Path, files: Sequence[Path]) -> None:
    """Raise DataError if a rosbag2 folder lists a file that is not in `files`, and so not in the digest."""
    if path.exists() and not path.is_file():  # the package would wait for a pipe's writer
        raise DataError("not a file", where=str(path), hint=HINT)
    if not path.is_file():
        return  # the package reports it
    content = read_yaml(path, hint=HINT)  # stricter than the package: no exploding aliases
    info = content.get("rosbag2_bagfile_information") if isinstance(content, dict) else None
    names = info.get("relative_file_paths") if isinstance(info, dict) else None
    known = {file.name for file in files}
    for name in names if isinstance(names, list) else []:
        if Path(str(name)).name not in known and (path.parent / Path(str(name)).name).exists():
            what = f"it lists {Path(str(name)).name!r}, which is not a .mcap, .db3 or .zstd file beside it"
            raise DataError(what, where=str(path), hint=HINT)


def _check_database(file: Path) -> None:
    if set(str(file)) & set("?#%"):
        raise DataError("its path contains ?, # or %", where=str(file), hint="Rename it: SQLite reads it as a URI.")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True)) as database:
            objects = database.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    except sqlite3.Error:
        return  # the package reports what is wrong
    except UnicodeDecodeError as error:
        raise DataError("it is damaged: a name in it is not UTF-8", where=str(file), hint=HINT) from error
    for kind, name, sql in objects:
        text = str(sql).upper()
        is_stored = kind == "index" or (kind == "table" and "VIRTUAL" not in text and " AS" not in text)
        if not is_stored:
            raise DataError(f"its {name} is computed, not stored", where=str(file), hint=HINT)


@contextmanager
def _unpack(file: Path) -> Iterator[Path]:
    """Yield the path of the unpacked file, which exists only inside the context."""
    zstd: Any = import_module("rosbags.rosbag2.storage_mcap").zstd
    budget = max(LARGEST, MAX_COMPRESSION_RATIO * file.stat().st_size)
    with scratch_folder() as folder:
        unpacked = folder / file.stem
        try:
            with zstd.open(file) as packed, unpacked.open("wb") as out:
                while part := packed.read(1 << 20):
                    budget -= len(part)
                    if budget < 0:
                        raise DataError("it decompresses to more than a recording may have", where=str(file), hint=HINT)
                    out.write(part)
        except (zstd.ZstdError, EOFError, OSError) as error:
            what = f"it cannot be decompressed: {first_line(error)}"
            raise DataError(what, where=str(file), hint="Copy it again.") from error
        yield unpacked
