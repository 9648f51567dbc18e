"""What a release may hold, and what is refused by name."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.errors import RegistryError
from worldtune.registry.manifest import (
    LARGEST,
    MOST_FILES,
    FileEntry,
    Manifest,
    canonical,
    check_listing,
    manifest_of,
    parse_json,
    parse_manifest,
)  # fmt: skip

ENTRIES = st.lists(
    st.tuples(st.from_regex(r"[a-z][a-z0-9]{0,8}\.(json|yaml|safetensors)", fullmatch=True), st.integers(0, 1000)),
    unique_by=lambda pair: pair[0], max_size=8,
).map(sorted)  # fmt: skip


@given(ENTRIES)
def test_a_manifest_is_read_as_it_was_written(entries: list[tuple[str, int]]) -> None:
    files = tuple(FileEntry(name=name, size=size, sha256="0" * 64) for name, size in entries)
    manifest = Manifest(files=files)
    assert parse_manifest(manifest.content, "here") == manifest


def test_an_adapters_folder_is_listed_whole(adapter: Path) -> None:
    manifest = manifest_of(adapter)
    assert [entry.name for entry in manifest.files] == sorted(path.name for path in adapter.iterdir())
    assert manifest.size == sum(path.stat().st_size for path in adapter.iterdir())
    assert manifest.digest == manifest_of(adapter).digest


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("run.sh", b"#!/bin/sh", "of a kind that is not taken"),
        ("model.pt", b"\x80\x04.", "of a kind that is not taken"),
        ("weights.bin", b"", "of a kind that is not taken"),
        ("code.py", b"", "of a kind that is not taken"),
        (".hidden.json", b"{}", "is no name of a file that is taken"),
        ("two words.json", b"{}", "is no name of a file that is taken"),
        ("ADAPTER.json", b"{}", "two names differ in capital letters only"),
        ("more.json", b'{"a": 1, "a": 2}', "the key 'a' is given twice"),
        ("more.json", b"{", "not JSON"),
        ("more.json", b"\xff\xfe", "not UTF-8 text"),
        ("notes.md", b"\xff\xfe", "is not what its name says"),
        ("other.safetensors", b"\x80\x04pickle", "is not what its name says"),
        ("other.safetensors", b"\x02\x00\x00\x00\x00\x00\x00\x00{}x", "is not what its name says"),
        ("ledger.parquet", b"PAR1", "is not what its name says"),
    ],
)
def test_a_file_that_is_not_taken_is_refused_by_name(
    adapter: Path, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in adapter.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_bytes(content)
    with pytest.raises(RegistryError, match=why):
        manifest_of(folder)


@pytest.mark.parametrize("plant", ["link", "folder", "pipe", "link of a folder"])
def test_links_and_folders_are_refused(adapter: Path, tmp_path: Path, plant: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    if plant == "link":
        (folder / "a.json").symlink_to(adapter / "adapter.json")
    elif plant == "pipe":
        os.mkfifo(folder / "a.json")
    elif plant == "folder":
        (folder / "a.json").mkdir()
    else:
        folder.rmdir()
        folder.symlink_to(adapter)
    with pytest.raises(RegistryError, match=r"is a link or no plain file|no such folder"):
        manifest_of(folder)


def test_sizes_and_numbers_have_ends() -> None:
    for kind, largest in LARGEST.items():
        check_listing([(f"a{kind}", largest)], "here")
        with pytest.raises(RegistryError, match="more than the"):
            check_listing([(f"a{kind}", largest + 1)], "here")
    with pytest.raises(RegistryError, match="65 files"):
        check_listing([(f"a{number:03}.json", 1) for number in range(MOST_FILES + 1)], "here")


def test_a_table_is_a_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"clip": ["a"]}), tmp_path / "ledger.parquet")
    assert len(manifest_of(tmp_path).files) == 1


def test_a_manifest_that_is_not_canonical_or_has_other_keys_is_none() -> None:
    manifest = Manifest(files=())
    with pytest.raises(RegistryError, match="not in its canonical form"):
        parse_manifest(json.dumps(manifest.model_dump(mode="json"), indent=1).encode(), "here")
    with pytest.raises(RegistryError, match="unknown key"):
        parse_manifest(canonical({"format": 1, "files": [], "command": "rm"}), "here")
    files = [{"name": "../a.json", "size": 1, "sha256": "0" * 64}]
    with pytest.raises(RegistryError, match="no name of a file"):
        parse_manifest(canonical({"format": 1, "files": files}), "here")


def test_json_that_is_too_deep_is_refused_in_one_line() -> None:
    with pytest.raises(RegistryError, match="nested deeper than"):
        parse_json("[" * 200_000, "here")
