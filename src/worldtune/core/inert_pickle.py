"""A pickle, read without running it: names stay names, and nothing is called, set, hashed or compared.

What a pickle would make of a name and arguments becomes a `Node`, a dictionary becomes one too, lists and tuples are
themselves. Source of the operations: CPython `Lib/pickletools.py`.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

DEEPEST_TUPLE, WIDEST_TUPLE = 32, 100_000  # whoever hashes or prints a tuple goes through all that is below it
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip


class DamagedError(ValueError):
    """A file of tensors, or a part of one, that is damaged or holds what it must not; says so in a line."""


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function that a pickle names."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Node:
    """What a name would make of `args`, and then of `state` and `pairs`; of a dictionary the name is None."""

    made_by: Name | None
    args: Any = ()
    state: Any = None
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Outside:
    """A thing that the pickle's file keeps elsewhere, by its id."""

    id: Any


def read_inert(file: BinaryIO, admits: Callable[[Name], bool], meets: Callable[[Any], None] = lambda id: None) -> Any:
    """The next pickle of a file, as data, in time and memory in proportion to its bytes.

    `meets` is told the id of everything that the file keeps outside of the pickle. Raises DamagedError when it is
    damaged, or has a name that `admits` refuses.
    """
    machine = _Machine(admits, meets)
    try:
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "STOP":
                return machine.pop()
            if operation.name in _VALUES:
                machine.stack.append(argument)
            elif operation.name in _OPERATIONS:
                _OPERATIONS[operation.name](machine, argument)
            else:
                raise DamagedError(f"it holds the operation {operation.name}")
    except DamagedError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise DamagedError(f"the pickle is damaged ({type(error).__name__})") from error
    raise DamagedError("the pickle is cut short")


class _Machine:
    """A pickle's stack, and what it remembers."""

    def __init__(self, admits: Callable[[Name], bool], meets: Callable[[Any], None]) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self._admits, self._meets = admits, meets
        self._tuples: dict[int, tuple[Any, int, int]] = {}  # by its id: each, how deep it is, how wide with all below

    def pop(self) -> Any:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise IndexError
        return self.stack.pop()

    def top(self, kind: type = object) -> Any:
        self.stack.append(found := self.pop())
        if not isinstance(found, kind):
            raise ValueError
        return found

    def since_mark(self) -> list[Any]:
        mark = self.marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def name(self, module: Any, name: Any = None) -> None:
        found = Name(module, name)
        if not isinstance(module, str) or not isinstance(name, str) or not self._admits(found):
            raise DamagedError(f"it names {str(found)[:100]!r}")
        self.stack.append(found)

    def call(self, args: Any) -> None:
        if not isinstance(name := self.pop(), Name):
            raise DamagedError("it calls what is no name")
        self.stack.append(Node(name, args))

    def build(self, state: Any) -> None:
        node = self.top(Node)
        if node.state is not None:
            raise ValueError
        node.state = state

    def tuple_of(self, items: list[Any]) -> None:
        below = [self._tuples[id(item)][1:] for item in items if isinstance(item, tuple) and item]
        deep, wide = 1 + max((deep for deep, _ in below), default=0), len(items) + sum(wide for _, wide in below)
        if deep > DEEPEST_TUPLE or (below and wide > WIDEST_TUPLE):
            raise DamagedError("a tuple holds too many others")
        made = tuple(items)
        self._tuples[id(made)] = made, deep, wide
        self.stack.append(made)

    def outside(self, id: Any) -> None:
        self._meets(id)
        self.stack.append(Outside(id))

    def last(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]

    def put(self, place: Any) -> None:
        self.memo[place] = self.top()


def _paired(items: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(items[::2], items[1::2], strict=True))


def _pop_attribute(machine: _Machine, _: Any) -> None:
    module, name = machine.last(2)
    machine.name(module, name)


def _extend(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    machine.top(list).extend(items)


def _set_items(machine: _Machine, _: Any) -> None:
    items = machine.since_mark()
    machine.top(Node).pairs.extend(_paired(items))


def _set_item(machine: _Machine, _: Any) -> None:
    pair = machine.last(2)
    machine.top(Node).pairs.append((pair[0], pair[1]))


def _append(machine: _Machine, _: Any) -> None:
    item = machine.pop()
    machine.top(list).append(item)


_OPERATIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.since_mark(),
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.tuple_of(machine.since_mark()),
    "TUPLE1": lambda machine, _: machine.tuple_of(machine.last(1)),
    "TUPLE2": lambda machine, _: machine.tuple_of(machine.last(2)),
    "TUPLE3": lambda machine, _: machine.tuple_of(machine.last(3)),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_SET": lambda machine, _: machine.stack.append([]),
    "LIST": lambda machine, _: machine.stack.append(machine.since_mark()),
    "FROZENSET": lambda machine, _: machine.stack.append(machine.since_mark()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append(Node(None)),
    "DICT": lambda machine, _: machine.stack.append(Node(None, pairs=_paired(machine.since_mark()))),
    "APPEND": _append,
    "APPENDS": _extend,
    "ADDITEMS": _extend,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "MEMOIZE": lambda machine, _: machine.put(len(machine.memo)),
    "PUT": lambda machine, place: machine.put(place),
    "BINPUT": lambda machine, place: machine.put(place),
    "LONG_BINPUT": lambda machine, place: machine.put(place),
    "GET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "LONG_BINGET": lambda machine, place: machine.stack.append(machine.memo[place]),
    "GLOBAL": lambda machine, named: machine.name(*named.split(" ", 1)),
    "STACK_GLOBAL": _pop_attribute,
    "REDUCE": lambda machine, _: machine.call(machine.pop()),
    "NEWOBJ": lambda machine, _: machine.call(machine.pop()),
    "BUILD": lambda machine, _: machine.build(machine.pop()),
    "PERSID": lambda machine, id: machine.outside(id),
    "BINPERSID": lambda machine, _: machine.outside(machine.pop()),
}
