"""Parse a pickle without running it: names stay names, and nothing is called, set, hashed or compared.

A call of a name with arguments becomes a `Node`, and so does a dictionary; lists and tuples stay what they are. Source
of the operations: CPython `Lib/pickletools.py`.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

MAX_TUPLE_DEPTH, MAX_TUPLE_WIDTH = 32, 100_000  # hashing or printing a tuple visits everything in it
_VALUE_OPCODES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip


class DamagedFileError(ValueError):
    """A file of tensors that is damaged or has disallowed content; the message is one line."""


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that a pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Node:
    """A call of `constructor` with `args`, and then `state` and `pairs` to set; None constructs a dictionary."""

    constructor: Name | None
    args: Any = ()
    state: Any = None
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class PersistentId:
    """An object that the file stores outside the pickle, by its id."""

    id: Any


def parse_pickle(
    file: BinaryIO, is_allowed: Callable[[Name], bool], on_persistent_id: Callable[[Any], None] = lambda id: None
) -> Any:
    """Return the next pickle of a file as data, in time and memory proportional to its bytes.

    `on_persistent_id` is called with the id of every object that the file stores outside the pickle. Raise
    DamagedFileError if the pickle is damaged, or has a name that `is_allowed` rejects.
    """
    machine = _Machine(is_allowed, on_persistent_id)
    try:
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "STOP":
                return machine.pop()
            if operation.name in _VALUE_OPCODES:
                machine.stack.append(argument)
            elif operation.name in _OPCODES:
                _OPCODES[operation.name](machine, argument)
            else:
                raise DamagedFileError(f"the pickle has the disallowed operation {operation.name}")
    except DamagedFileError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise DamagedFileError(f"the pickle is damaged ({type(error).__name__})") from error
    raise DamagedFileError("the pickle is cut short")


class _Machine:
    """A pickle machine: its stack, marks and memo."""

    def __init__(self, is_allowed: Callable[[Name], bool], on_persistent_id: Callable[[Any], None]) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self._is_allowed, self._on_persistent_id = is_allowed, on_persistent_id
        self._tuples: dict[int, tuple[Any, int, int]] = {}  # by id: the tuple, its depth, its total width

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise IndexError
        return self.stack.pop()

    def top(self, kind: type = object) -> Any:
        self.stack.append(found := self.pop())
        if not isinstance(found, kind):
            raise ValueError
        return found

    def pop_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def name(self, module: Any, name: Any = None) -> None:
        found = Name(module, name)
        if not isinstance(module, str) or not isinstance(name, str) or not self._is_allowed(found):
            raise DamagedFileError(f"the pickle has the disallowed name {str(found)[:100]!r}")
        self.stack.append(found)

    def call(self, args: Any) -> None:
        if not isinstance(name := self.pop(), Name):
            raise DamagedFileError("the pickle calls something that is not a name")
        self.stack.append(Node(name, args))

    def build(self, state: Any) -> None:
        node = self.top(Node)
        if node.state is not None:
            raise ValueError
        node.state = state

    def make_tuple(self, items: list[Any]) -> None:
        below = [self._tuples[id(item)][1:] for item in items if isinstance(item, tuple) and item]
        depth, width = 1 + max((depth for depth, _ in below), default=0), len(items) + sum(width for _, width in below)
        if depth > MAX_TUPLE_DEPTH or (below and width > MAX_TUPLE_WIDTH):
            raise DamagedFileError("a tuple is nested too deep or too wide")
        made = tuple(items)
        self._tuples[id(made)] = made, depth, width
        self.stack.append(made)

    def persistent_load(self, id: Any) -> None:
        self._on_persistent_id(id)
        self.stack.append(PersistentId(id))

    def pop_many(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]

    def put(self, index: Any) -> None:
        self.memo[index] = self.top()


def _pair_up(items: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(items[::2], items[1::2], strict=True))


def _pop_attribute(machine: _Machine, _: Any) -> None:
    module, name = machine.pop_many(2)
    machine.name(module, name)


def _extend(machine: _Machine, _: Any) -> None:
    items = machine.pop_mark()
    machine.top(list).extend(items)


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.pop_mark()
    machine.top(Node).pairs.extend(_pair_up(items))


def _set_item(machine: _Machine, _: Any) -> None:
    pair = machine.pop_many(2)
    machine.top(Node).pairs.append((pair[0], pair[1]))


def _append(machine: _Machine, _: Any) -> None:
    item = machine.pop()
    machine.top(list).append(item)


_OPCODES: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.make_tuple(machine.pop_mark()),
    "TUPLE1": lambda machine, _: machine.make_tuple(machine.pop_many(1)),
    "TUPLE2": lambda machine, _: machine.make_tuple(machine.pop_many(2)),
    "TUPLE3": lambda machine, _: machine.make_tuple(machine.pop_many(3)),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_SET": lambda machine, _: machine.stack.append([]),
    "LIST": lambda machine, _: machine.stack.append(machine.pop_mark()),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.pop_mark()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append(Node(None)),
    "DICT": lambda machine, _: machine.stack.append(Node(None, pairs=_pair_up(machine.pop_mark()))),
    "APPEND": _append,
    "APPENDS": _extend,
    "ADDITEMS": _extend,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "PUT": lambda machine, index: machine.put(index),
    "BINPUT": lambda machine, index: machine.put(index),
    "LONG_BINPUT": lambda machine, index: machine.put(index),
    "GET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.stack.append(machine.memo[index]),
    "GLOBAL": lambda machine, named: machine.name(*named.split(" ", 1)),
    "STACK_GLOBAL": _pop_attribute,
    "REDUCE": lambda machine, _: machine.call(machine.pop()),
    "NEWOBJ": lambda machine, _: machine.call(machine.pop()),
    "BUILD": lambda machine, _: machine.build(machine.pop()),
    "PERSID": lambda machine, id: machine.persistent_load(id),
    "BINPERSID": lambda machine, _: machine.persistent_load(machine.pop()),
}
