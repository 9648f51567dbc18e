"""Many processes use one registry: nothing may be lost, no number reused, and each generation has one winner."""

import multiprocessing
from collections import Counter
from dataclasses import dataclass
from typing import Any

from benchmarks.registry.site import NAME, Site
from worldtune.errors import BusyError
from worldtune.registry.governance.promotion import promote
from worldtune.registry.log.resolve import channel_head, list_moves, list_releases
from worldtune.registry.releases.add import add_release
from worldtune.registry.verify import verify


@dataclass(frozen=True)
class CrowdResult:
    """The number of problems of each kind, and of promotions that lost a race and got an error."""

    lost: int
    reused: int
    extra_winners: int
    faults: int
    conflicts: int


def run_crowd(site: Site, processes: int, rounds: int) -> CrowdResult:
    """Run processes that each add `rounds` releases of one name and try as many updates of one channel."""
    context = multiprocessing.get_context("fork")
    with context.Pool(processes) as pool:
        results = pool.starmap(_work, [(site, number, rounds) for number in range(processes)])
    registry = site.registry()
    with registry.view() as state:
        numbers = Counter(event.fact.number for event in list_releases(state, NAME))
        generations = Counter(move.event.fact.generation for move in list_moves(state, NAME, "staging"))
    won = [generation for result in results for generation in result["won"]]
    added = [number for result in results for number in result["added"]]
    found = verify(registry)
    registry.engine.dispose()
    return CrowdResult(
        lost=abs(processes * rounds - len(numbers)) + len(set(added) ^ set(numbers)) + len(set(won) ^ set(generations)),
        reused=len(added) - len(set(added)) + sum(count - 1 for count in numbers.values()),
        extra_winners=len(won) - len(set(won)) + abs(max(generations, default=0) - len(generations)),
        faults=len(found.faults),
        conflicts=sum(result["conflicts"] for result in results),
    )


def _work(site: Site, process: int, rounds: int) -> dict[str, Any]:
    registry, sam = site.registry(), site.key("sam")
    results: dict[str, Any] = {"added": [], "won": [], "conflicts": 0}
    for turn in range(rounds):
        release = add_release(registry, sam, NAME, site.copy_adapter(f"{process}-{turn}")).fact
        results["added"].append(release.number)
        with registry.view() as state:
            head = channel_head(state, NAME, "staging")
        seen = head.event.fact.generation if head else 0
        try:
            results["won"].append(promote(registry, sam, release.name, "staging", seen).fact.generation)
        except BusyError:
            results["conflicts"] += 1
    registry.engine.dispose()
    return results
