"""The split that a source states: `splits` of LeRobot's info.json, robomimic's masks.

The name of a split shows its use; other sets, such as robomimic's "20_percent" or "better", are ignored.
"""

from collections.abc import Mapping

from worldtune.data.episode import Problem
from worldtune.errors import DataError

TRAINING_NAMES = frozenset({"train", "training"})
HELD_OUT_NAMES = frozenset({"val", "valid", "validation", "dev", "eval", "test", "held_out"})
PredefinedSplits = Mapping[str, frozenset[str]]
"""The names of the episodes, by the name of their split."""


def predefined_sides(predefined: PredefinedSplits, path: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the episodes for training and the held-out ones. Raise DataError unless the source states both, apart."""
    train, held = _episodes_of(predefined, TRAINING_NAMES), _episodes_of(predefined, HELD_OUT_NAMES)
    if not train or not held:
        available = ", ".join(f"{name} ({len(episodes)})" for name, episodes in predefined.items()) or "none"
        what = f"split_by=predefined, but the source states no {'held-out' if train else 'training'} episodes"
        raise DataError(what, where=path, hint=f"Its splits are: {available}. Split by episode, with data.held_out.")
    if both := sorted(train & held):
        what = f"the source states episode {both[0]} both for training and as held out"
        raise DataError(what, where=path, hint="Correct its splits, or split by episode.")
    return train, held


def _episodes_of(predefined: PredefinedSplits, names: frozenset[str]) -> frozenset[str]:
    return frozenset().union(*(episodes for name, episodes in predefined.items() if name.lower() in names))


def find_unused_split(predefined: PredefinedSplits, all_episodes: frozenset[str]) -> list[Problem]:
    """Return a warning if the source states a split of its `all_episodes` episodes that is not used."""
    named = {name: episodes for name, episodes in predefined.items() if name.lower() in TRAINING_NAMES | HELD_OUT_NAMES}
    if all(name.lower() in TRAINING_NAMES and episodes >= all_episodes for name, episodes in named.items()):
        return []
    listed = ", ".join(f"{name} ({len(episodes)})" for name, episodes in named.items())
    what = f"the source states a split that is not used: {listed} of {len(all_episodes)} episodes"
    what += "; data.split_by: predefined uses it"
    return [Problem("warning", "split", what)]
