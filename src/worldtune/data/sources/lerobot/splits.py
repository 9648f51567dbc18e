"""The splits that a LeRobot dataset states.

Format: github.com/huggingface/lerobot, `splits` of `meta/info.json`: {"train": "0:40", "val": "40:50"}, first episode
and end. Lists of episodes or of ranges, and a column `split` of the episodes, are read too.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from worldtune.data.sources.lerobot.metadata import EpisodeMetadata

RANGE = re.compile(r"(\d{1,15}):(\d{1,15})")


def read_splits(splits: Mapping[str, Any], episode_metadata: Sequence[EpisodeMetadata]) -> dict[str, frozenset[str]]:
    """Return the names of the episodes of each split that can be understood."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, value in splits.items():
        ranges = parse_ranges(value)
        if ranges is not None:
            found[name] |= {entry.name for entry in episode_metadata if any(a <= entry.index < b for a, b in ranges)}
    for metadata in episode_metadata:
        if metadata.split:
            found[metadata.split].add(metadata.name)
    return {name: frozenset(episodes) for name, episodes in found.items()}


def parse_ranges(value: Any) -> list[tuple[int, int]] | None:
    """Return (first episode, end) of each part, None if the value is not a range or a list of them."""
    parts = list(_parse_parts(value))
    return None if None in parts else [part for part in parts if part]


def _parse_parts(value: Any) -> Iterator[tuple[int, int] | None]:
    if isinstance(value, list):
        for entry in value:
            yield from _parse_parts(entry) if not isinstance(entry, list) else (None,)
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        yield value, value + 1
    else:
        for text in str(value).split(","):
            match = RANGE.fullmatch(text.strip())
            yield (int(match[1]), int(match[2])) if match and int(match[1]) <= int(match[2]) else None
