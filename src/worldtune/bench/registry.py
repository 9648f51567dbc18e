"""The registry under a crowd, under kill -9, with ten thousand releases, and under attack."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from worldtune.bench.postgres import binaries, serving
from worldtune.bench.ratio import timed
from worldtune.bench.registry_attacks import attacks
from worldtune.bench.registry_crowd import crowd
from worldtune.bench.registry_killed import kill_often
from worldtune.bench.registry_many import many
from worldtune.bench.registry_site import NAME, Site, make_adapter, make_site, new_database, own_folders
from worldtune.bench.registry_tampering import ATTACKS, tampering
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.registry.add import add, put
from worldtune.registry.bundle import export
from worldtune.registry.enrolment import enrol
from worldtune.registry.keys import public_path
from worldtune.registry.manifest import manifest_of

ROUNDS = 20
LARGE = 186_000_000  # bytes: a LoRA of rank 16 on every linear of the 14B, in bf16
Advance = Callable[[int, int], None]
PARTS = 8


def measure(*, quick: bool, on_part: Advance = lambda done, total: None) -> list[Figure]:
    """Every figure; `quick` is a small version."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        stack.enter_context(own_folders(place))
        adapter = make_adapter(place / "adapter")
        server = None if binaries() is None else stack.enter_context(serving())
        parts: list[Iterator[Figure]] = [
            _crowd(place / "sqlite", adapter, None, quick),
            _crowd(place / "postgresql", adapter, server, quick) if server else _without_postgres(),
            _killed(place, adapter, quick),
            many(place / "many", adapter, quick),
            _large(place / "large", adapter, quick),
            _tampered(place / "tampered", adapter),
            _attacked(place / "attacked", adapter),
            _histories(place / "histories", server, quick),
        ]
        for done, part in enumerate(parts, start=1):
            figures += part
            on_part(done, PARTS)
    return figures


def _crowd(folder: Path, adapter: Path, server: str | None, quick: bool) -> Iterator[Figure]:
    processes, rounds = (2, 3) if quick else (8, 200)
    with ExitStack() as stack:
        database = stack.enter_context(new_database(server, "crowd")) if server else None
        started = time.perf_counter()
        found = crowd(make_site(folder, adapter, database), processes, rounds)
        seconds = time.perf_counter() - started
    kind = f"{folder.name}, {processes} processes × {rounds} additions and promotions"
    yield figure(f"{kind}: lost", found.lost, "", "lower", 0)
    yield figure(f"{kind}: numbers used twice", found.reused, "", "lower", 0)
    yield figure(f"{kind}: winners beyond one a generation", found.winners_too_many, "", "lower", 0)
    yield figure(f"{kind}: faults of the chain", found.faults, "", "lower", 0)
    yield figure(f"{kind}: who came too late and was told", found.too_late, "", "lower")
    yield figure(f"{kind}: time", seconds, "s", "lower")


def _without_postgres() -> Iterator[Figure]:
    yield figure("postgresql", None, "", "lower", 0, "PostgreSQL is not installed: apt-get install postgresql")


def _killed(place: Path, adapter: Path, quick: bool) -> Iterator[Figure]:
    times = 6 if quick else 100
    here, away = make_site(place / "killed", adapter), make_site(place / "sender", adapter)
    sender, registry = away.registry(), here.registry()
    add(sender, away.key("sam"), NAME, away.another("sent"))
    export(sender, f"{NAME}@1", place / "sent.tar")
    enrol(registry, here.key("ann"), "sam", public_path(away.folder / "keys" / "sam.pem"), ("submitter",), None)
    registry.engine.dispose()
    wrong, cut = kill_often(here, place / "sent.tar", times)
    at = ", ".join(f"{count} during {act}" for act, count in cut.items())
    yield figure(f"kill -9 at {times} points ({at}): not sound afterwards", wrong, "", "lower", 0)


def _large(folder: Path, adapter: Path, quick: bool) -> Iterator[Figure]:
    """Verification of a large adapter, beyond reading its bytes, in turn."""
    size = 1_000_000 if quick else LARGE
    site: Site = make_site(folder, adapter)
    registry, source = site.registry(), folder / "source"
    source.mkdir()
    save_file({"lora": torch.zeros(size // 2, dtype=torch.bfloat16)}, source / "pytorch_lora_weights.safetensors")
    manifest = manifest_of(source)
    put(registry, source, manifest)
    blobs = [Path(registry.store.path(entry.sha256)) for entry in manifest.files]
    beyond = []
    for _ in range(ROUNDS // 2):
        read = timed(lambda: _read(blobs))
        beyond.append(timed(lambda: registry.store.check_all(manifest)) - read)
    registry.engine.dispose()
    name = f"verify {size / 1e6:.0f} MB, beyond reading it"
    yield figure(name, median(beyond), "s", "lower", None if quick else 1.0)


def _read(paths: list[Path]) -> None:
    for path in paths:
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


def _tampered(place: Path, adapter: Path) -> Iterator[Figure]:
    refused = {name: why for name, why in tampering(place, adapter) if why is not None}
    passed = ", ".join(name for name in ATTACKS if name not in refused)
    name = f"tampering refused by its name, of {len(ATTACKS)} classes{f' (not: {passed})' if passed else ''}"
    yield figure(name, len(refused), "", "higher", len(ATTACKS))


def _attacked(place: Path, adapter: Path) -> Iterator[Figure]:
    for kind, tried, accepted in attacks(place, adapter):
        named = f" ({', '.join(accepted)})" if accepted else ""
        yield figure(f"attacks accepted, {kind}, of {tried}{named}", len(accepted), "", "lower", 0)


def _histories(place: Path, server: str | None, quick: bool) -> Iterator[Figure]:
    """Random histories on both databases: honest acts, appended events, and a database that is changed."""
    try:
        from worldtune.bench.registry_machine import run_histories
    except ImportError:
        why = "hypothesis is not installed: pip install 'worldtune[dev]'"
        yield figure("random histories that misled a reader", None, "", "lower", 0, why)
        return
    count = 5 if quick else 1000
    for kind in ("sqlite", "postgresql") if server else ("sqlite",):
        with ExitStack() as stack:
            database = stack.enter_context(new_database(server, "histories")) if server and kind != "sqlite" else None
            counts, why = run_histories(place / kind, count, database)
        done = counts.pop("histories")
        told = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
        yield figure(f"{kind}, {done} random histories ({told}): misled a reader{why}", int(bool(why)), "", "lower", 0)
