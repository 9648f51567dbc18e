"""Many processes at one registry: is everything there, every number once, and one winner for each generation?"""

import multiprocessing
from collections import Counter
from dataclasses import dataclass
from typing import Any

from worldtune.bench.registry_site import NAME, Site
from worldtune.errors import BusyError
from worldtune.registry.add import add
from worldtune.registry.promotion import promote
from worldtune.registry.releases import channel_head, moves_of, releases_of
from worldtune.registry.verify import verify


@dataclass(frozen=True)
class Crowd:
    """What came of it: counts of what is wrong, and how often somebody came too late and was told."""

    lost: int
    reused: int
    winners_too_many: int
    faults: int
    too_late: int


def crowd(site: Site, processes: int, rounds: int) -> Crowd:
    """Each process adds `rounds` releases of one name, and tries to move one channel as often, from where it saw it."""
    context = multiprocessing.get_context("fork")
    with context.Pool(processes) as pool:
        told = pool.starmap(_work, [(site, number, rounds) for number in range(processes)])
    registry = site.registry()
    with registry.view() as state:
        numbers = Counter(event.fact.number for event in releases_of(state, NAME))
        generations = Counter(move.event.fact.generation for move in moves_of(state, NAME, "staging"))
    won = [generation for its in told for generation in its["won"]]
    added = [number for its in told for number in its["added"]]
    found = verify(registry)
    registry.engine.dispose()
    return Crowd(
        lost=abs(processes * rounds - len(numbers)) + len(set(added) ^ set(numbers)) + len(set(won) ^ set(generations)),
        reused=len(added) - len(set(added)) + sum(count - 1 for count in numbers.values()),
        winners_too_many=len(won) - len(set(won)) + abs(max(generations, default=0) - len(generations)),
        faults=len(found.faults),
        too_late=sum(its["too_late"] for its in told),
    )


def _work(site: Site, process: int, rounds: int) -> dict[str, Any]:
    registry, sam = site.registry(), site.key("sam")
    told: dict[str, Any] = {"added": [], "won": [], "too_late": 0}
    for turn in range(rounds):
        release = add(registry, sam, NAME, site.another(f"{process}-{turn}")).fact
        told["added"].append(release.number)
        with registry.view() as state:
            head = channel_head(state, NAME, "staging")
        seen = head.event.fact.generation if head else 0
        try:
            told["won"].append(promote(registry, sam, release.name, "staging", seen).fact.generation)
        except BusyError:
            told["too_late"] += 1
    registry.engine.dispose()
    return told
