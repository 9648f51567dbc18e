"""The files that a release may hold, and errors that name the others."""

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.core.canonical_json import canonical_json
from worldtune.errors import RegistryError
from worldtune.registry.store.manifest import (
    MAX_FILE_BYTES,
    MAX_FILES,
    FileEntry,
    Manifest,
    build_manifest,
    check_listing,
    parse_json,
    parse_manifest,
)  # fmt: skip

ENTRIES = st.lists(
    st.tuples(st.from_regex(r"[a-z][a-z0-9]{0,8}\.(json|yaml|safetensors)", fullmatch=True), st.integers(0, 1000)),
    unique_by=lambda pair: pair[0], max_size=8,
).map(sorted)  # fmt: skip


@given(ENTRIES)
def test_manifest_round_trip(entries: list[tuple[str, int]]) -> None:
    files = tuple(FileEntry(name=name, size=size, sha256="0" * 64) for name, size in entries)
    manifest = Manifest(files=files)
    assert parse_manifest(manifest.content, "here") == manifest


def test_manifest_lists_every_file(adapter: Path) -> None:
    manifest = build_manifest(adapter)
    assert [entry.name for entry in manifest.files] == sorted(path.name for path in adapter.iterdir())
    assert manifest.size == sum(path.stat().st_size for path in adapter.iterdir())
    assert manifest.digest == build_manifest(adapter).digest


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("run.sh", b"#!/bin/sh", "is not allowed"),
        ("model.pt", b"\x80\x04.", "is not allowed"),
        ("weights.bin", b"", "is not allowed"),
        ("code.py", b"", "is not allowed"),
        (".hidden.json", b"{}", "is not allowed"),
        ("two words.json", b"{}", "is not allowed"),
        ("ADAPTER.json", b"{}", "two file names differ only in case"),
        ("more.json", b'{"a": 1, "a": 2}', "the key 'a' is given twice"),
        ("more.json", b"{", "not JSON"),
        ("more.json", b"\xff\xfe", "not UTF-8 text"),
        ("notes.md", b"\xff\xfe", "does not match its type"),
        ("other.safetensors", b"\x80\x04pickle", "does not match its type"),
        ("other.safetensors", b"\x02\x00\x00\x00\x00\x00\x00\x00{}x", "does not match its type"),
        ("ledger.parquet", b"PAR1", "does not match its type"),
    ],
)
def test_invalid_file_is_rejected_by_name(adapter: Path, tmp_path: Path, name: str, content: bytes, why: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in adapter.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / name).write_bytes(content)
    with pytest.raises(RegistryError, match=why):
        build_manifest(folder)


@pytest.mark.parametrize("plant", ["link", "folder", "pipe", "link of a folder"])
def test_links_and_folders_are_rejected(adapter: Path, tmp_path: Path, plant: str) -> None:
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
    with pytest.raises(RegistryError, match=r"is a link or not a regular file|no such folder"):
        build_manifest(folder)


def test_file_sizes_and_counts_are_limited() -> None:
    for kind, largest in MAX_FILE_BYTES.items():
        check_listing([(f"a{kind}", largest)], "here")
        with pytest.raises(RegistryError, match="may have"):
            check_listing([(f"a{kind}", largest + 1)], "here")
    with pytest.raises(RegistryError, match="65 files"):
        check_listing([(f"a{number:03}.json", 1) for number in range(MAX_FILES + 1)], "here")


def test_table_content_is_checked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"clip": ["a"]}), tmp_path / "ledger.parquet")
    assert len(build_manifest(tmp_path).files) == 1


def test_noncanonical_manifest_is_rejected() -> None:
    manifest = Manifest(files=())
    with pytest.raises(RegistryError, match="not in canonical form"):
        parse_manifest(json.dumps(manifest.model_dump(mode="json"), indent=1).encode(), "here")
    with pytest.raises(RegistryError, match="unknown key"):
        parse_manifest(canonical_json({"format": 1, "files": [], "command": "rm"}), "here")
    files = [{"name": "../a.json", "size": 1, "sha256": "0" * 64}]
    with pytest.raises(RegistryError, match="is not allowed"):
        parse_manifest(canonical_json({"format": 1, "files": files}), "here")


def test_too_deep_json_gives_one_line_error() -> None:
    with pytest.raises(RegistryError, match="nested deeper than"):
        parse_json("[" * 200_000, "here")
