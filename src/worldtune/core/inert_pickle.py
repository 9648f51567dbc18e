"""A pickle, read without running it: names stay names, and nothing is called, set, hashed or compared.

What a pickle would make of a name and arguments becomes a `Node`, a dictionary becomes one too, lists and tuples are
themselves. Source of the operations: CPython `Lib/pickletools.py`.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

DEEPEST_TUPLE, WIDEST_TUPLE = 32, 100_000  # whoever hashes or prints a tuple goes through all that is below it
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


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


def read_inert(file: BinaryIO, admits: Callable[[Name], bool]) -> Any:
    """The next pickle of a file, as data, in time and memory in proportion to its bytes.

    Raises DamagedError when it is damaged, or has a name that `admits` refuses.
    """
    reading = _Reading(admits)
    try:
        for operation, argument, _ in pickletools.genops(file):
            if operation.name == "STOP":
                return reading.pop()
            reading.do(operation.name, argument)
    except DamagedError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise DamagedError(f"the pickle is damaged ({type(error).__name__})") from error
    raise DamagedError("the pickle is cut short")


class _Reading:
    """The stack of a pickle machine, and what it remembers."""

    def __init__(self, admits: Callable[[Name], bool]) -> None:
        self._admits = admits
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._tuples: dict[int, tuple[Any, int, int]] = {}  # by its id: each, how deep it is, how wide with all below

    def pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise IndexError
        return self._stack.pop()

    def _top(self, kind: type) -> Any:
        self._stack.append(found := self.pop())
        if not isinstance(found, kind):
            raise ValueError
        return found

    def _since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def do(self, name: str, argument: Any) -> None:
        push = self._stack.append
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self._marks.append(len(self._stack))
            case "POP":
                self.pop()
            case "POP_MARK":
                self._since_mark()
            case "DUP":
                push(self._top(object))
            case _ if name in _CONSTANTS:
                push(_CONSTANTS[name])
            case _ if name in _VALUES:
                push(argument)
            case "TUPLE":
                push(self._tuple(self._since_mark()))
            case _ if name in _SIZES:
                push(self._tuple([self.pop() for _ in range(_SIZES[name])][::-1]))
            case "EMPTY_LIST" | "EMPTY_SET":
                push([])
            case "LIST" | "FROZENSET":
                push(self._since_mark())
            case "EMPTY_DICT":
                push(Node(None))
            case "DICT":
                push(Node(None, pairs=_paired(self._since_mark())))
            case "APPEND":
                item = self.pop()
                self._top(list).append(item)
            case "APPENDS" | "ADDITEMS":
                items = self._since_mark()
                self._top(list).extend(items)
            case "SETITEM":
                value, key = self.pop(), self.pop()
                self._top(Node).pairs.append((key, value))
            case "SETITEMS":
                items = self._since_mark()
                self._top(Node).pairs.extend(_paired(items))
            case "MEMOIZE":
                self._memo[len(self._memo)] = self._top(object)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self._top(object)
            case "GET" | "BINGET" | "LONG_BINGET":
                push(self._memo[argument])
            case _:
                self._do_more(name, argument)

    def _do_more(self, name: str, argument: Any) -> None:
        """What stands for things that are no plain data."""
        match name:
            case "GLOBAL":
                self._stack.append(self._name(*argument.split(" ")))
            case "STACK_GLOBAL":
                attribute, module = self.pop(), self.pop()
                self._stack.append(self._name(module, attribute))
            case "REDUCE" | "NEWOBJ":
                args = self.pop()
                self._stack.append(Node(self._popped_name(), args))
            case "BUILD":
                state, node = self.pop(), self._top(Node)
                if node.state is not None:
                    raise ValueError
                node.state = state
            case "PERSID":
                self._stack.append(Outside(argument))
            case "BINPERSID":
                self._stack.append(Outside(self.pop()))
            case _:
                raise DamagedError(f"it holds the operation {name}")

    def _popped_name(self) -> Name:
        found = self.pop()
        if not isinstance(found, Name):
            raise DamagedError("it calls what is no name")
        return found

    def _name(self, module: Any, name: Any = None) -> Name:
        found = Name(module, name)
        if not isinstance(module, str) or not isinstance(name, str) or not self._admits(found):
            raise DamagedError(f"it names {str(found)[:100]!r}")
        return found

    def _tuple(self, items: list[Any]) -> tuple[Any, ...]:
        below = [self._tuples[id(item)][1:] for item in items if isinstance(item, tuple) and item]
        deep, wide = 1 + max((deep for deep, _ in below), default=0), len(items) + sum(wide for _, wide in below)
        if deep > DEEPEST_TUPLE or (below and wide > WIDEST_TUPLE):
            raise DamagedError("a tuple holds too many others")
        made = tuple(items)
        self._tuples[id(made)] = made, deep, wide
        return made


def _paired(items: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(items[::2], items[1::2], strict=True))
