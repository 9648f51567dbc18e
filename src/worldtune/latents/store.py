"""A content-addressed store of tensors: safetensors shards with a Parquet index, written whole or not at all.

A key is the digest of everything the tensor depends on: weights, input, and the libraries that compute it. Any number
of processes write at once, on any number of machines: each writes shards and parts of the index of its own, named by
their content, the shard before the part that names it. What a crash leaves is a shard that nothing names.
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

from worldtune.errors import BusyError, DataError, first_line
from worldtune.files import atomic_file, digest_bytes, digest_json, locked

Key = dict[str, Any]
SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "shard", "name", "digest")])
SHARD_BYTES, SHARD_SECONDS = 64 << 20, 30.0  # after which a shard is written; at first after one second
MANY_PARTS = 64
_SHARD = re.compile(r"[0-9a-f]{64}\.safetensors")
_DELETE = "Delete the file: what it names is encoded again."


@dataclass(frozen=True)
class Entry:
    """A tensor of the store: its name in a shard, and the SHA-256 of its kind, shape and bytes."""

    shard: Path
    name: str
    sha256: str


class LatentStore:
    """Tensors under `folder`, by the digest of what made them.

    `find` knows what was there when the store was opened or last refreshed, and what this process wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, Entry] = {}
        self._parts: set[str] = set()
        self._unwritten: dict[str, Tensor] = {}
        self._names: dict[str, str] = {}
        self._since, self._patience = time.monotonic(), 1.0
        self.refresh()

    def refresh(self) -> None:
        """Take in what other processes have written. Raises DataError when a part of the index cannot be read."""
        while not all(self._take_in(path) for path in self._listed() if path.name not in self._parts):
            pass  # a part was joined with others meanwhile: list them again

    def _listed(self) -> list[Path]:
        return sorted((self.folder / "index").glob("[!.]*.parquet"))

    def _take_in(self, path: Path) -> bool:
        """Was the part still there?"""
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
        """The tensor of `key`, None when it is not there (any more)."""
        digest = digest_json(key)
        entry = self._entries.get(digest)
        return entry if entry is not None and entry.shard.is_file() else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What is put meanwhile is written at the end, if need be earlier, and also when the block ends badly."""
        self._since, self._patience = time.monotonic(), 1.0
        try:
            yield
        finally:
            self._write()

    def put(self, tensor: Tensor, *keys: Key) -> None:
        """Keep `tensor` under some keys: inside of `writing`."""
        name = digest_json(keys[0])
        self._unwritten[name] = tensor.detach().cpu().contiguous()
        self._names |= {digest_json(key): name for key in keys}
        size = sum(each.nbytes for each in self._unwritten.values())
        if size > SHARD_BYTES or time.monotonic() - self._since > self._patience:
            self._patience = min(2 * self._patience, SHARD_SECONDS)
            self._write()

    def save(self, tensor: Tensor, *keys: Key) -> Entry:
        """Keep and write `tensor` now."""
        with self.writing():
            self.put(tensor, *keys)
        return self._entries[digest_json(keys[0])]

    def alias(self, known: Key, key: Key) -> None:
        """The tensor of `known`, which is there or was put, is found under `key` too: inside of `writing`."""
        self._names[digest_json(key)] = digest_json(known)

    def holds(self, key: Key) -> bool:
        """Is it there, or was it put?"""
        return digest_json(key) in self._names or self.find(key) is not None

    def _write(self) -> None:
        if self._names:
            self._write_shard()
            self._entries |= {key: self._entries[name] for key, name in self._names.items()}
            self._parts.add(self._write_part([self._row(key) for key in sorted(self._names)]).name)
            self._names.clear()
            if len(self._listed()) > MANY_PARTS:
                self._join_parts()
        self._since = time.monotonic()

    def _is_there(self, row: dict[str, str]) -> bool:
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
        """Many small parts become one, which is written before they go; not while another process does the same."""
        with suppress(BusyError), locked(self.folder / "index"):
            paths = self._listed()
            found = [row for path in paths for row in _read_part(path)]
            rows = {row["key"]: row for row in sorted(found, key=self._is_there)}
            joined = self._write_part([rows[key] for key in sorted(rows)])
            for path in set(paths) - {joined}:
                path.unlink()


def _part_name(rows: list[dict[str, str]]) -> str:
    return f"{digest_json(rows)[:32]}.parquet"


def _read_part(path: Path) -> list[dict[str, str]]:
    """The rows of a part of the index. Raises DataError when it is damaged, FileNotFoundError when it is not there."""
    fault = "a part of the latent store's index cannot be read"
    try:
        rows: list[dict[str, str]] = pq.ParquetFile(path).read().select(SCHEMA.names).cast(SCHEMA).to_pylist()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:  # ValueError: a text that is no UTF-8
        raise DataError(f"{fault}: {first_line(error)}", where=str(path), mend=_DELETE) from error
    if _part_name(rows) != path.name or not all(_SHARD.fullmatch(str(row["shard"])) for row in rows):
        raise DataError(f"{fault}: it is not what was written", where=str(path), mend=_DELETE)
    return rows


@lru_cache(maxsize=256)
def _opened(shard: Path) -> Any:
    return safe_open(shard, framework="pt")


def load_tensor(entry: Entry) -> Tensor:
    """What was put. Raises DataError when the shard is gone, or any byte of the tensor is another."""
    try:
        tensor = _opened(entry.shard).get_tensor(entry.name)
        if _digest(tensor) == entry.sha256:
            return tensor
        fault = "its bytes are not those that were written"
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:  # of a damaged header
        fault = first_line(error)
    what = f"a tensor of the latent store cannot be read: {fault}"
    raise DataError(what, where=str(entry.shard), mend="Delete the file: what it held is encoded again.")


def _digest(tensor: Tensor) -> str:
    sha = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
    sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()
