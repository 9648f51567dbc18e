"""A registry with many releases: the time to resolve, to promote, and to verify all of it for the first time."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from securesystemslib.signer import CryptoSigner

from benchmarks.ratio import timed
from benchmarks.registry.site import NAME, make_site
from worldtune.core.files import cache_folder
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.registry.events.events import ChannelUpdated, Labeled, ReleaseAdded, ReleaseApproved, ReleaseEvaluated
from worldtune.registry.governance.promotion import promote
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.resolve import resolve
from worldtune.registry.log.rules import channel_generation, next_number
from worldtune.registry.log.writer import Writer
from worldtune.registry.registry import Registry
from worldtune.registry.releases.add import add_release

ROUNDS = 20
LATER = "2999-01-01T00:00:00.000000Z"


def measure_many_releases(folder: Path, adapter: Path, quick: bool) -> Iterator[Figure]:
    """Each release is added, evaluated, approved and promoted to production, by Ed25519 keys."""
    count, new = (50, 10) if quick else (10_000, 100)
    site = make_site(folder, adapter)
    registry = site.registry()
    real = add_release(registry, site.key("sam"), NAME, adapter).fact
    for person in ("sam", "eva", "bob", "sam again"):
        with registry.writer(site.key(person.split()[0])) as writer:
            for number in range(count - 1):
                _append(writer, person, real, number)
    promote(registry, site.key("sam"), real.name, "staging")
    with registry.view() as state:
        events = state.head.sequence
    kind = f"{count:,} releases, {events:,} events"

    fresh = replace(registry, ignore_cache=True)
    seconds = timed(lambda: _resolve(fresh, f"{NAME}@staging"))
    yield figure(f"first full verification of {kind}, Ed25519", seconds, "s", "lower", None if quick else 40)
    seconds = _median(lambda: _resolve(registry, f"{NAME}@staging"))
    yield figure(f"resolve, {kind}, replica of now", 1000 * seconds, "ms", "lower", None if quick else 5)
    seconds = median(_resolve_after_write(registry, lambda: _label(registry, site.key("sam"), new), 3 if quick else 10))
    yield figure(f"resolve, {kind}, {new} of them new", 1000 * seconds, "ms", "lower", None if quick else 50)
    seconds = _median(lambda: promote(registry, site.key("sam"), real.name, "staging"))
    yield figure(f"promote, {kind}", 1000 * seconds, "ms", "lower", None if quick else 100)
    registry.engine.dispose()


def _append(writer: Writer, person: str, real: ReleaseAdded, number: int) -> None:
    """Append one person's event about one release."""
    name, digest = f"line{number % 100}/front/pick", f"{number:064x}"
    state = writer.state
    if person == "sam":
        update = {"adapter": name, "number": next_number(state, name), "digest": digest}
        writer.append(real.model_copy(update=update))
        return
    release = {"adapter": name, "number": number // 100 + 1, "digest": digest}
    if person == "eva":
        evaluation = {"suite": "5" * 64, "gates": "6" * 64, "results": "7" * 64, "candidate": "new", "outcome": "pass"}
        evaluation |= {"person": "eva", "base": real.base, "expires": LATER}
        writer.append(ReleaseEvaluated.model_validate(release | evaluation))
        return
    policy = current_policy(state).digest
    if person == "bob":
        approval = {"person": "bob", "channel": "production", "policy": policy, "reason": "good", "expires": LATER}
        writer.append(ReleaseApproved.model_validate(release | approval))
        return
    generation = {"generation": channel_generation(state, name, "production") + 1}
    move = {"channel": "production", "action": "promotion", "policy": policy}
    writer.append(ChannelUpdated.model_validate(release | move | generation))


def _resolve_after_write(registry: Registry, write: Callable[[], None], rounds: int) -> Iterator[float]:
    """Yield the time of a reader whose replica lacks the newest events."""
    replicas, backup = cache_folder() / "registry", cache_folder() / "backup"
    _resolve(registry, f"{NAME}@staging")
    for _ in range(rounds):
        shutil.rmtree(backup, ignore_errors=True)
        shutil.copytree(replicas, backup)
        write()
        shutil.rmtree(replicas)
        shutil.copytree(backup, replicas)
        yield timed(lambda: _resolve(registry, f"{NAME}@staging"))


def _label(registry: Registry, signer: CryptoSigner, count: int) -> None:
    with registry.writer(signer) as writer:
        for number in range(count):
            writer.append(Labeled(adapter=NAME, labels={"turn": str(number)}))


def _resolve(registry: Registry, text: str) -> ReleaseAdded:
    with registry.view() as state:
        return resolve(state, text).release.fact


def _median(act: Callable[[], object]) -> float:
    act()
    return median(timed(act) for _ in range(ROUNDS))
