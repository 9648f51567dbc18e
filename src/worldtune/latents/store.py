"""A content-addressed store of tensors: safetensors shards with a Parquet index, written atomically.

A key is the digest of everything the tensor depends on: weights, input, and the libraries that compute it. Many
processes on many machines can write at once: each writes its own shards and index parts, named by their content, and
the shard before the index part that names it. A crash leaves at most a shard that no index part names.
"""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from worldtune.core.files import atomic_file, cache_folder, digest_bytes, digest_json, lock_folder
from worldtune.errors import BusyError, DataError, first_line

Key = dict[str, Any]
SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "shard", "name", "digest")])
SHARD_BYTES, SHARD_SECONDS = 64 << 20, 30.0  # after which a shard is written; at first after one second
MAX_PARTS = 64
_SHARD = re.compile(r"[0-9a-f]{64}\.safetensors")
_DELETE_HINT = "Delete the file: its tensors are encoded again."


@dataclass(frozen=True)
class Entry:
    """A tensor of the store: its name in a shard, and the SHA-256 of its type, shape and bytes."""

    shard: Path
    name: str
    sha256: str


class LatentStore:
    """A store of tensors in `folder`, by the digests of their inputs.

    `find` sees the tensors that were there at the last refresh, and those that this process wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, Entry] = {}
        self._parts: set[str] = set()
        self._unwritten: dict[str, Tensor] = {}
        self._names: dict[str, str] = {}
        self._last_write, self._write_interval = time.monotonic(), 1.0
        self.refresh()

    def refresh(self) -> None:
        """Load what other processes have written. Raise DataError if a part of the index cannot be read."""
        while not all(self._load_part(path) for path in self._list_parts() if path.name not in self._parts):
            pass  # another process joined parts: list them again

    def _list_parts(self) -> list[Path]:
        return sorted((self.folder / "index").glob("[!.]*.parquet"))

    def _load_part(self, path: Path) -> bool:
        """Load a part; return whether it still existed."""
        try:
            rows = _read_part(path)
        except FileNotFoundError:
            return False
        self._parts.add(path.name)
        for row in rows:
            entry = Entry(self.folder / "shards" / row["shard"], row["name"], row["digest"])
            known = self._entries.get(row["key"])
            if known is None or (known.shard != entry.shard and not known.shard.is_file()):
                self._entries[row["key"]] = entry
        return True

    def find(self, key: Key) -> Entry | None:
        """Return the tensor of `key`, None if it is not stored or was deleted."""
        digest = digest_json(key)
        entry = self._entries.get(digest)
        return entry if entry is not None and entry.shard.is_file() else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write the tensors that are `put` inside the block: at its end, even if it fails, and in between if many."""
        self._last_write, self._write_interval = time.monotonic(), 1.0
        try:
            yield
        finally:
            self._write()

    def put(self, tensor: Tensor, *keys: Key) -> None:
        """Add `tensor` under some keys. Call this inside `writing`."""
        name = digest_json(keys[0])
        self._unwritten[name] = tensor.detach().cpu().contiguous()
        self._names |= {digest_json(key): name for key in keys}
        size = sum(tensor_.nbytes for tensor_ in self._unwritten.values())
        if size > SHARD_BYTES or time.monotonic() - self._last_write > self._write_interval:
            self._write_interval = min(2 * self._write_interval, SHARD_SECONDS)
            self._write()

    def save(self, tensor: Tensor, *keys: Key) -> Entry:
        """Write `tensor` now."""
        with self.writing():
            self.put(tensor, *keys)
        return self._entries[digest_json(keys[0])]

    def alias(self, known: Key, key: Key) -> None:
        """Add `key` as another key of the tensor of `known`, which is stored or was put. Call this inside `writing`."""
        self._names[digest_json(key)] = digest_json(known)

    def contains(self, key: Key) -> bool:
        """Return whether the tensor of `key` is stored or was put."""
        return digest_json(key) in self._names or self.find(key) is not None

    def _write(self) -> None:
        if self._names:
            self._write_shard()
            self._entries |= {key: self._entries[name] for key, name in self._names.items()}
            self._parts.add(self._write_part([self._row(key) for key in sorted(self._names)]).name)
            self._names.clear()
            if len(self._list_parts()) > MAX_PARTS:
                self._join_parts()
        self._last_write = time.monotonic()

    def _shard_exists(self, row: dict[str, str]) -> bool:
        return (self.folder / "shards" / row["shard"]).is_file()

    def _row(self, key: str) -> dict[str, str]:
        entry = self._entries[key]
        return {"key": key, "shard": entry.shard.name, "name": entry.name, "digest": entry.sha256}

    def _write_shard(self) -> None:
        if not self._unwritten:
            return
        data = save({name: self._unwritten[name] for name in sorted(self._unwritten)})
        shard = self.folder / "shards" / f"{digest_bytes(data)}.safetensors"
        with atomic_file(shard) as partial:
            partial.write_bytes(data)
        for name, tensor in self._unwritten.items():
            self._entries[name] = Entry(shard, name, _digest(tensor))
        self._unwritten.clear()

    def _write_part(self, rows: list[dict[str, str]]) -> Path:
        path = self.folder / "index" / _part_name(rows)
        with atomic_file(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, SCHEMA), partial)
        return path

    def _join_parts(self) -> None:
        """Join many small parts into one, then delete them. Skip this if another process is doing it."""
        with suppress(BusyError), lock_folder(self.folder / "index"):
            paths = self._list_parts()
            all_rows = [row for path in paths for row in _read_part(path)]
            rows = {row["key"]: row for row in sorted(all_rows, key=self._shard_exists)}
            joined = self._write_part([rows[key] for key in sorted(rows)])
            for path in set(paths) - {joined}:
                path.unlink()


def default_store() -> LatentStore:
    """Return the user's store, which all runs share."""
    return LatentStore(cache_folder() / "latents")


def _part_name(rows: list[dict[str, str]]) -> str:
    return f"{digest_json(rows)[:32]}.parquet"


def _read_part(path: Path) -> list[dict[str, str]]:
    """Return the rows of an index part. Raise DataError if it is damaged, FileNotFoundError if it is missing."""
    fault = "a part of the latent store's index cannot be read"
    try:
        rows: list[dict[str, str]] = pq.ParquetFile(path).read().select(SCHEMA.names).cast(SCHEMA).to_pylist()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:  # ValueError: a text that is not UTF-8
        raise DataError(f"{fault}: {first_line(error)}", where=str(path), hint=_DELETE_HINT) from error
    if _part_name(rows) != path.name or not all(_SHARD.fullmatch(str(row["shard"])) for row in rows):
        raise DataError(f"{fault}: its content has changed", where=str(path), hint=_DELETE_HINT)
    return rows


@lru_cache(maxsize=256)
def _open_shard(shard: Path) -> Any:
    return safe_open(shard, framework="pt")


def load_tensor(entry: Entry) -> Tensor:
    """Return the tensor of an entry. Raise DataError if the shard is missing, or any byte of the tensor has changed."""
    try:
        tensor = _open_shard(entry.shard).get_tensor(entry.name)
        if _digest(tensor) == entry.sha256:
            return tensor
        fault = "its bytes have changed"
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:  # of a damaged header
        fault = first_line(error)
    what = f"a tensor of the latent store cannot be read: {fault}"
    raise DataError(what, where=str(entry.shard), hint=_DELETE_HINT)


def _digest(tensor: Tensor) -> str:
    sha = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
    sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
