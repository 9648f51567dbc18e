"""Find recordings without arrays of states or actions that the others of the dataset have."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from worldtune.data.episode import Problem


def find_inconsistent_arrays(arrays: Mapping[str, Collection[str]]) -> Iterator[Problem]:
    """Yield a warning for each recording whose arrays, keyed by its name, differ from those of most recordings."""
    counts = Counter(frozenset(names) for names in arrays.values())
    usual = counts.most_common(1)[0][0] if counts else frozenset()
    for where, names in arrays.items():
        if set(names) != usual:
            own, common = (", ".join(sorted(group)) or "none" for group in (names, usual))
            yield Problem("warning", where, f"its states and actions are {own}; most recordings have {common}")
