"""A registry with many releases: the time to resolve, to promote, and to verify all of it for the first time."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from securesystemslib.signer import CryptoSigner

from worldtune.bench.ratio import timed
from worldtune.bench.registry_site import NAME, make_site
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.files import cache_folder
from worldtune.registry.add import add
from worldtune.registry.facts import Approved, Evaluated, Labelled, Moved, Released
from worldtune.registry.log.rules import generation_of, next_number
from worldtune.registry.log.writer import Writer
from worldtune.registry.promotion import promote
from worldtune.registry.registry import Registry
from worldtune.registry.releases import resolve
from worldtune.registry.standing import policy_now

ROUNDS = 20
LATER = "2999-01-01T00:00:00.000000Z"


def many(folder: Path, adapter: Path, quick: bool) -> Iterator[Figure]:
    """Each release is added, evaluated, approved and promoted to production, by Ed25519 keys."""
    count, new = (50, 10) if quick else (10_000, 100)
    site = make_site(folder, adapter)
    registry = site.registry()
    real = add(registry, site.key("sam"), NAME, adapter).fact
    for person in ("sam", "eva", "bob", "sam again"):
        with registry.writer(site.key(person.split()[0])) as writer:
            for number in range(count - 1):
                _say(writer, person, real, number)
    promote(registry, site.key("sam"), real.name, "staging")
    with registry.view() as state:
        events = state.head.sequence
    kind = f"{count:,} releases, {events:,} events"

    fresh = replace(registry, from_nothing=True)
    seconds = timed(lambda: _resolve(fresh, f"{NAME}@staging"))
    yield figure(f"first full verification of {kind}, Ed25519", seconds, "s", "lower", None if quick else 40)
    seconds = _median(lambda: _resolve(registry, f"{NAME}@staging"))
    yield figure(f"resolve, {kind}, replica of now", 1000 * seconds, "ms", "lower", None if quick else 5)
    seconds = median(_behind(registry, lambda: _label(registry, site.key("sam"), new), 3 if quick else 10))
    yield figure(f"resolve, {kind}, {new} of them new", 1000 * seconds, "ms", "lower", None if quick else 50)
    seconds = _median(lambda: promote(registry, site.key("sam"), real.name, "staging"))
    yield figure(f"promote, {kind}", 1000 * seconds, "ms", "lower", None if quick else 100)
    registry.engine.dispose()


def _say(writer: Writer, person: str, real: Released, number: int) -> None:
    """What one person says of one release."""
    name, digest = f"line{number % 100}/front/pick", f"{number:064x}"
    state = writer.state
    if person == "sam":
        update = {"adapter": name, "number": next_number(state, name), "digest": digest}
        writer.append(real.model_copy(update=update))
        return
    of = {"adapter": name, "number": number // 100 + 1, "digest": digest}
    if person == "eva":
        said = {"suite": "5" * 64, "gates": "6" * 64, "results": "7" * 64, "candidate": "new", "outcome": "pass"}
        said |= {"person": "eva", "base": real.base, "expires": LATER}
        writer.append(Evaluated.model_validate(of | said))
        return
    policy = policy_now(state).digest
    if person == "bob":
        given = {"person": "bob", "channel": "production", "policy": policy, "reason": "good", "expires": LATER}
        writer.append(Approved.model_validate(of | given))
        return
    generation = {"generation": generation_of(state, name, "production") + 1}
    move = {"channel": "production", "how": "promotion", "policy": policy}
    writer.append(Moved.model_validate(of | move | generation))


def _behind(registry: Registry, write: Callable[[], None], rounds: int) -> Iterator[float]:
    """How long a reader takes whose replica lacks what was just written."""
    replicas, kept = cache_folder() / "registry", cache_folder() / "kept"
    _resolve(registry, f"{NAME}@staging")
    for _ in range(rounds):
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(replicas, kept)
        write()
        shutil.rmtree(replicas)
        shutil.copytree(kept, replicas)
        yield timed(lambda: _resolve(registry, f"{NAME}@staging"))


def _label(registry: Registry, signer: CryptoSigner, count: int) -> None:
    with registry.writer(signer) as writer:
        for number in range(count):
            writer.append(Labelled(adapter=NAME, labels={"turn": str(number)}))


def _resolve(registry: Registry, text: str) -> Released:
    with registry.view() as state:
        return resolve(state, text).release.fact


def _median(act: Callable[[], object]) -> float:
    act()
    return median(timed(act) for _ in range(ROUNDS))
