"""kill -9 at random points of add, promote and import: check that the registry is valid after each."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.registry.site import NAME, Site
from worldtune.errors import RegistryError
from worldtune.registry.exchange.import_release import import_release
from worldtune.registry.governance.promotion import promote
from worldtune.registry.log.resolve import resolve
from worldtune.registry.registry import Registry
from worldtune.registry.releases.add import add_release
from worldtune.registry.verify import verify

Act = Callable[[], object]


def kill_repeatedly(site: Site, tar: Path, times: int, seed: int = 0) -> tuple[int, dict[str, int]]:
    """Return how many of `times` kills left an invalid registry, and by act how many interrupted it.

    `tar` is an export of another site whose author is enrolled here.
    """
    draw = random.Random(seed)
    wrong, cut = 0, {"add": 0, "promote": 0, "import": 0}
    registry = site.registry()
    first = add_release(registry, site.key("sam"), NAME, site.copy_adapter("first")).fact
    promote(registry, site.key("sam"), first.name, "staging")
    durations = {name: _time_act(act) for name, act in _acts(site, tar, "timed").items()}
    for number in range(times):
        name = ("add", "promote", "import")[number % 3]
        act = _acts(site, tar, str(number))[name]
        with registry.view() as state:
            before = state.head.sequence
        cut[name] += _run_and_kill(act, draw.uniform(0, 1.2 * durations[name]))
        wrong += not _is_sound(registry, before)
    registry.engine.dispose()
    return wrong, cut


def _acts(site: Site, tar: Path, number: str) -> dict[str, Act]:
    """Return the acts by name; each opens the registry anew."""

    def run_add() -> object:
        return add_release(site.registry(), site.key("sam"), NAME, site.copy_adapter(f"add-{number}"))

    def run_promote() -> object:
        return promote(site.registry(), site.key("sam"), f"{NAME}@1", "staging")

    def imports() -> object:
        return import_release(site.registry(), site.key("sam"), tar, f"brought/{number}")

    return {"add": run_add, "promote": run_promote, "import": imports}


def _time_act(act: Act) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


def _run_and_kill(act: Act, after: float) -> bool:
    """Run an act in its own process and kill it after some seconds; return whether it was still running."""
    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    assert process.pid is not None
    time.sleep(after)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def _is_sound(registry: Registry, before: int) -> bool:
    """Return whether the registry is valid, at most one act was added, and the channel resolves."""
    found = verify(registry)
    try:
        with registry.view() as state:
            resolve(state, f"{NAME}@staging")
    except RegistryError:
        return False
    return found.is_valid and found.head.sequence - before <= 2
