"""Tables of a state: changed values in memory, over the values that a replica stored."""

from collections.abc import Callable, Iterator
from heapq import merge
from typing import Any, Generic, Protocol, TypeVar

V = TypeVar("V")


class StoredTables(Protocol):
    """The stored tables of a replica: JSON by table and key."""

    def get(self, table: str, key: str) -> Any | None: ...

    def scan(self, table: str, prefix: str) -> Iterator[tuple[str, Any]]: ...


class Table(Generic[V]):
    """One table. A value is replaced, never changed in place.

    `encode` and `decode` turn a value into JSON and back.
    """

    def __init__(
        self, name: str, encode: Callable[[V], Any], decode: Callable[[Any], V], stored: StoredTables | None
    ) -> None:
        self.name, self.encode, self.decode, self.stored = name, encode, decode, stored
        self.changed: dict[str, V] = {}
        self._read: dict[str, V] = {}

    def get(self, key: str) -> V | None:
        """Return the value of a key, or None."""
        if key in self.changed:
            return self.changed[key]
        if key not in self._read and self.stored is not None:
            found = self.stored.get(self.name, key)
            if found is None:
                return None
            self._read[key] = self.decode(found)
        return self._read.get(key)

    def __getitem__(self, key: str) -> V:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def put(self, key: str, value: V) -> None:
        self.changed[key] = value

    def items(self, prefix: str = "") -> Iterator[tuple[str, V]]:
        """Yield the keys with this prefix in order, with their values."""
        new = sorted(key for key in self.changed if key.startswith(prefix))
        old: Iterator[tuple[str, Any]] = self.stored.scan(self.name, prefix) if self.stored is not None else iter(())
        unchanged = ((key, self.decode(value)) for key, value in old if key not in self.changed)
        yield from merge(unchanged, ((key, self.changed[key]) for key in new), key=lambda pair: pair[0])

    def values(self, prefix: str = "") -> Iterator[V]:
        for _, value in self.items(prefix):
            yield value
