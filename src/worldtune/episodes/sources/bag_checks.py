"""The files of a ROS recording, looked at before the `rosbags` package reads them.

A database's view is a program that may never end; a name with `%2e` in it is another file's where it is taken for a
URI; what the metadata list must be among the files whose digest stands for the recording.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

from worldtune.core.strict_io import read_yaml
from worldtune.episodes.sources.bag_limits import DENSEST, LARGEST, MEND
from worldtune.errors import DataError, first_line
from worldtune.files import scratch_folder


def check_files(bag: Path, files: Sequence[Path]) -> None:
    """Raise DataError if a file of the recording would make the package read or do something else than it says."""
    if bag.is_dir():
        _check_metadata(bag / "metadata.yaml", files)
    for file in files:
        if not file.is_file():  # a pipe would wait for a writer
            raise DataError("it is not a file", where=str(file), mend=MEND)
        if file.suffix == ".db3":
            _check_database(file)
        elif file.suffix == ".zstd":
            with _unpacked(file) as whole:
                if whole.suffix == ".db3":
                    _check_database(whole)


def _check_metadata(path: Path, files: Sequence[Path]) -> None:
    """Of a rosbag2 folder: all files that it lists are known here, so that a digest is of them."""
    if path.exists() and not path.is_file():  # the package would wait for a pipe's writer
        raise DataError("it is not a file", where=str(path), mend=MEND)
    if not path.is_file():
        return  # the package says so
    found = read_yaml(path, mend=MEND)  # what it refuses, the package would read: aliases that explode, for instance
    about = found.get("rosbag2_bagfile_information") if isinstance(found, dict) else None
    names = about.get("relative_file_paths") if isinstance(about, dict) else None
    known = {file.name for file in files}
    for name in names if isinstance(names, list) else []:
        if Path(str(name)).name not in known and (path.parent / Path(str(name)).name).exists():
            what = f"it lists {Path(str(name)).name!r}, which is no .mcap, .db3 or .zstd file beside it"
            raise DataError(what, where=str(path), mend=MEND)


def _check_database(file: Path) -> None:
    if set(str(file)) & set("?#%"):
        raise DataError("its path has one of ? # % in it", where=str(file), mend="Rename it: SQLite reads it as a URI.")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro&immutable=1", uri=True)) as database:
            made = database.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    except sqlite3.Error:
        return  # the package says what is wrong
    except UnicodeDecodeError as error:
        raise DataError("it is damaged: a name in it is not UTF-8", where=str(file), mend=MEND) from error
    for kind, name, sql in made:
        text = str(sql).upper()
        plain = kind == "index" or (kind == "table" and "VIRTUAL" not in text and " AS" not in text)
        if not plain:
            raise DataError(f"{name} in it is computed, not stored", where=str(file), mend=MEND)


@contextmanager
def _unpacked(file: Path) -> Iterator[Path]:
    """A whole file that is packed, for as long as it is looked at."""
    zstd: Any = import_module("rosbags.rosbag2.storage_mcap").zstd
    left = max(LARGEST, DENSEST * file.stat().st_size)
    with scratch_folder() as folder:
        whole = folder / file.stem
        try:
            with zstd.open(file) as packed, whole.open("wb") as out:
                while part := packed.read(1 << 20):
                    left -= len(part)
                    if left < 0:
                        raise DataError("it unpacks to more than a recording can be", where=str(file), mend=MEND)
                    out.write(part)
        except (zstd.ZstdError, EOFError, OSError) as error:
            what = f"it cannot be unpacked: {first_line(error)}"
            raise DataError(what, where=str(file), mend="Copy it again.") from error
        yield whole
