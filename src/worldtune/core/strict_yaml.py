"""PyYAML's safe loader, which refuses keys given twice, deep nesting, and aliases that stand for very many values.

An anchor that is used a few times costs nothing. Aliases of aliases grow as a power: their size is counted while the
document is read, before any value is made of it.
"""

from math import isfinite
from typing import Any, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from worldtune.core.values import DEEPEST, MOST_DIGITS, RefusedError, bad_character

MOST_COPIED = 200_000  # values that all aliases together stand for
LONGEST_NUMBER = 100  # characters: longer ones take quadratic time
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_COLLECTIONS = {_TAG + name for name in ("map", "seq", "set", "omap", "pairs")}
_INT, _FLOAT = _TAG + "int", _TAG + "float"
_NUMBERS = {_INT, _FLOAT}
_WRITTEN = _NUMBERS | {_TAG + "bool", _TAG + "timestamp"}  # an explicit tag must agree with how the value is written


def _refused(what: str, node: Any) -> RefusedError:
    return RefusedError(f"{what}, line {node.start_mark.line + 1}")


class StrictLoader(yaml.SafeLoader):
    """Reads one document. Raises YAMLError, or ValueError for what is refused."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._copied = 0
        self._sizes: dict[int, tuple[int, int]] = {}  # of finished lists and mappings, by id: values, levels

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        if self.check_event(yaml.AliasEvent):
            event = self._next()
            return self._copy(cast("Node", super().compose_node(parent, index)), event)
        self._depth += 1
        if self._depth > DEEPEST and self.check_event(yaml.CollectionStartEvent):
            raise _refused(f"values are nested deeper than {DEEPEST}", self._next())
        node = cast("Node", super().compose_node(parent, index))
        self._depth -= 1
        return node

    def _next(self) -> Any:
        return self.peek_event()  # type: ignore[no-untyped-call]

    def _copy(self, node: Node, alias: Any) -> Node:
        if not isinstance(node, ScalarNode) and id(node) not in self._sizes:
            raise _refused("an alias stands inside what it stands for", alias)
        values, levels = self._size(node)
        self._copied += values
        if self._copied > MOST_COPIED:
            raise _refused(f"its aliases stand for more than {MOST_COPIED:,} values", alias)
        if self._depth + levels > DEEPEST:
            raise _refused(f"values are nested deeper than {DEEPEST}", alias)
        return node

    def _size(self, node: Node) -> tuple[int, int]:
        return self._sizes.get(id(node), (1, 0))

    def _measure(self, node: Node, inner: list[Node]) -> None:
        sizes = [self._size(one) for one in inner]
        self._sizes[id(node)] = 1 + sum(values for values, _ in sizes), 1 + max((n for _, n in sizes), default=0)

    def compose_sequence_node(self, anchor: Any) -> SequenceNode:
        node: SequenceNode = super().compose_sequence_node(anchor)
        self._measure(node, node.value)
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        self._measure(node, [part for pair in node.value for part in pair])
        keys: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise _refused("a key is a list or a mapping", key)
            name = _MERGE if key.tag == _MERGE else self.construct_object(key)
            if name in keys:
                raise _refused(f"the key {key.value!r:.60} is given twice", key)
            keys.add(name)
        return node

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        event = self._next()
        node: ScalarNode = super().compose_scalar_node(anchor)
        if fault := bad_character(node.value):
            raise _refused(f"a string holds {fault}: {node.value!r:.60}", node)
        if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
            raise _refused(f"a number has more than {LONGEST_NUMBER} characters", node)
        if node.tag in _COLLECTIONS:
            raise _refused(f"{node.value!r:.60} is not of its tag {node.tag.removeprefix(_TAG)}", node)
        if event.tag is not None and node.tag in _WRITTEN:
            written = self.resolve(ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
            if written != node.tag and (written, node.tag) != (_INT, _FLOAT):
                raise _refused(f"{node.value!r:.60} is not of its tag {node.tag.removeprefix(_TAG)}", node)
        return node

    def construct_finite(self, node: ScalarNode) -> float:
        """A float. Raises ValueError for NaN and infinity."""
        number: float = self.construct_yaml_float(node)
        if not isfinite(number):
            raise _refused(f"{node.value:.60} is not a finite number", node)
        return number

    def construct_sensible(self, node: ScalarNode) -> int:
        """A whole number. Raises ValueError when it has too many digits."""
        number: int = self.construct_yaml_int(node)
        if abs(number) >= 10**MOST_DIGITS:
            raise _refused(f"a number has more than {MOST_DIGITS} digits", node)
        return number

    def construct_date(self, node: ScalarNode) -> Any:
        """A date or a time. Raises ValueError for one that no calendar has."""
        try:
            return self.construct_yaml_timestamp(node)
        except (ValueError, OverflowError) as error:
            raise _refused(f"{node.value!r:.60} is not a date: {error}", node) from error


StrictLoader.add_constructor(_FLOAT, StrictLoader.construct_finite)
StrictLoader.add_constructor(_INT, StrictLoader.construct_sensible)
StrictLoader.add_constructor(_TAG + "timestamp", StrictLoader.construct_date)
