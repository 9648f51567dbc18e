"""kill -9 at random points of add, promote and import: is the store sound after each, and no half state to be seen?"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from worldtune.bench.registry_site import NAME, Site
from worldtune.errors import RegistryError
from worldtune.registry.add import add
from worldtune.registry.bring_in import bring_in
from worldtune.registry.promotion import promote
from worldtune.registry.registry import Registry
from worldtune.registry.releases import resolve
from worldtune.registry.verify import verify

Act = Callable[[], object]


def kill_often(site: Site, tar: Path, times: int, seed: int = 0) -> tuple[int, dict[str, int]]:
    """How many of `times` kills left something wrong; and how many came before the act had ended, by act.

    `tar` is an export of another site whose author is enrolled here.
    """
    draw = random.Random(seed)
    wrong, cut = 0, {"add": 0, "promote": 0, "import": 0}
    registry = site.registry()
    first = add(registry, site.key("sam"), NAME, site.another("first")).fact
    promote(registry, site.key("sam"), first.name, "staging")
    lasts = {name: _time(act) for name, act in _acts(site, tar, "timed").items()}
    for number in range(times):
        name = ("add", "promote", "import")[number % 3]
        act = _acts(site, tar, str(number))[name]
        with registry.view() as state:
            before = state.head.sequence
        cut[name] += _killed(act, draw.uniform(0, 1.2 * lasts[name]))
        wrong += not _sound(registry, before)
    registry.engine.dispose()
    return wrong, cut


def _acts(site: Site, tar: Path, number: str) -> dict[str, Act]:
    """Each on the registry as a new process opens it."""

    def adds() -> object:
        return add(site.registry(), site.key("sam"), NAME, site.another(f"add-{number}"))

    def promotes() -> object:
        return promote(site.registry(), site.key("sam"), f"{NAME}@1", "staging")

    def brings() -> object:
        return bring_in(site.registry(), site.key("sam"), tar, f"brought/{number}")

    return {"add": adds, "promote": promotes, "import": brings}


def _time(act: Act) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _killed(act: Act, after: float) -> bool:
    """Do it in a process of its own, and kill that after so many seconds; was it still at work?"""
    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    assert process.pid is not None
    time.sleep(after)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def _sound(registry: Registry, before: int) -> bool:
    """All is as it was written, at most the one act was added, and the channel resolves."""
    found = verify(registry)
    try:
        with registry.view() as state:
            resolve(state, f"{NAME}@staging")
    except RegistryError:
        return False
    return found.sound and found.head.sequence - before <= 2
