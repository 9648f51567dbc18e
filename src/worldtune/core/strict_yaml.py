"""PyYAML's safe loader, which also rejects duplicate keys, deep nesting, and aliases that expand to very many values.

An anchor that is used a few times is harmless. Aliases of aliases grow exponentially: their size is counted while the
document is parsed, before any value is built.
"""

from math import isfinite
from typing import Any, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from worldtune.core.value_limits import MAX_DEPTH, MAX_DIGITS, DisallowedValueError, find_bad_character

MAX_ALIASED_VALUES = 200_000  # values that all aliases together expand to
MAX_NUMBER_LENGTH = 100  # characters: longer ones take quadratic time
_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_COLLECTIONS = {_TAG + name for name in ("map", "seq", "set", "omap", "pairs")}
_INT, _FLOAT = _TAG + "int", _TAG + "float"
_NUMBERS = {_INT, _FLOAT}
_TAGS_CHECKED_AGAINST_TEXT = _NUMBERS | {
    _TAG + "bool",
    _TAG + "timestamp",
}  # an explicit tag must agree with how the value is written


def _disallowed(what: str, node: Any) -> DisallowedValueError:
    return DisallowedValueError(f"{what}, line {node.start_mark.line + 1}")


class StrictLoader(yaml.SafeLoader):
    """A loader of one document. Raises YAMLError, or ValueError for a disallowed value."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._aliased_values = 0
        self._sizes: dict[int, tuple[int, int]] = {}  # of finished lists and mappings, by id: values, levels

    def compose_node(self, parent: Node | None, index: Any) -> Node:
        if self.check_event(yaml.AliasEvent):
            event = self._peek()
            return self._check_alias(cast("Node", super().compose_node(parent, index)), event)
        self._depth += 1
        if self._depth > MAX_DEPTH and self.check_event(yaml.CollectionStartEvent):
            raise _disallowed(f"values are nested deeper than {MAX_DEPTH}", self._peek())
        node = cast("Node", super().compose_node(parent, index))
        self._depth -= 1
        return node

    def _peek(self) -> Any:
        return self.peek_event()  # type: ignore[no-untyped-call]

    def _check_alias(self, node: Node, alias: Any) -> Node:
        if not isinstance(node, ScalarNode) and id(node) not in self._sizes:
            raise _disallowed("an alias is inside its own anchor", alias)
        values, levels = self._size(node)
        self._aliased_values += values
        if self._aliased_values > MAX_ALIASED_VALUES:
            raise _disallowed(f"aliases expand to more than {MAX_ALIASED_VALUES:,} values", alias)
        if self._depth + levels > MAX_DEPTH:
            raise _disallowed(f"values are nested deeper than {MAX_DEPTH}", alias)
        return node

    def _size(self, node: Node) -> tuple[int, int]:
        return self._sizes.get(id(node), (1, 0))

    def _record_size(self, node: Node, inner: list[Node]) -> None:
        sizes = [self._size(child) for child in inner]
        self._sizes[id(node)] = 1 + sum(values for values, _ in sizes), 1 + max((n for _, n in sizes), default=0)

    def compose_sequence_node(self, anchor: Any) -> SequenceNode:
        node: SequenceNode = super().compose_sequence_node(anchor)
        self._record_size(node, node.value)
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        node: MappingNode = super().compose_mapping_node(anchor)
        self._record_size(node, [part for pair in node.value for part in pair])
        keys: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                raise _disallowed("a key is a list or a mapping", key)
            name = _MERGE if key.tag == _MERGE else self.construct_object(key)
            if name in keys:
                raise _disallowed(f"the key {key.value!r:.60} is given twice", key)
            keys.add(name)
        return node

    def compose_scalar_node(self, anchor: Any) -> ScalarNode:
        event = self._peek()
        node: ScalarNode = super().compose_scalar_node(anchor)
        if fault := find_bad_character(node.value):
            raise _disallowed(f"a string holds {fault}: {node.value!r:.60}", node)
        if node.tag in _NUMBERS and len(node.value) > MAX_NUMBER_LENGTH:
            raise _disallowed(f"a number has more than {MAX_NUMBER_LENGTH} characters", node)
        if node.tag in _COLLECTIONS:
            raise _disallowed(f"{node.value!r:.60} is not of its tag {node.tag.removeprefix(_TAG)}", node)
        if event.tag is not None and node.tag in _TAGS_CHECKED_AGAINST_TEXT:
            resolved = self.resolve(ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
            if resolved != node.tag and (resolved, node.tag) != (_INT, _FLOAT):
                raise _disallowed(f"{node.value!r:.60} is not of its tag {node.tag.removeprefix(_TAG)}", node)
        return node

    def construct_finite(self, node: ScalarNode) -> float:
        """Return a float. Raise ValueError for NaN and infinity."""
        number: float = self.construct_yaml_float(node)
        if not isfinite(number):
            raise _disallowed(f"{node.value:.60} is not a finite number", node)
        return number

    def construct_bounded_int(self, node: ScalarNode) -> int:
        """Return an integer. Raise ValueError if it has too many digits."""
        number: int = self.construct_yaml_int(node)
        if abs(number) >= 10**MAX_DIGITS:
            raise _disallowed(f"a number has more than {MAX_DIGITS} digits", node)
        return number

    def construct_date(self, node: ScalarNode) -> Any:
        """Return a date or a time. Raise ValueError if it does not exist."""
        try:
            return self.construct_yaml_timestamp(node)
        except (ValueError, OverflowError) as error:
            raise _disallowed(f"{node.value!r:.60} is not a date: {error}", node) from error


StrictLoader.add_constructor(_FLOAT, StrictLoader.construct_finite)
StrictLoader.add_constructor(_INT, StrictLoader.construct_bounded_int)
StrictLoader.add_constructor(_TAG + "timestamp", StrictLoader.construct_date)
