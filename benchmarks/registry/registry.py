"""Measure the registry with many processes, under kill -9, with ten thousand releases, and under attack."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save_file

from benchmarks.ratio import timed
from benchmarks.registry.attacks import attacks
from benchmarks.registry.concurrent_use import run_crowd
from benchmarks.registry.kill_processes import kill_repeatedly
from benchmarks.registry.many_releases import measure_many_releases
from benchmarks.registry.postgres import find_binaries, run_server
from benchmarks.registry.site import NAME, Site, make_adapter, make_site, new_database, own_folders
from benchmarks.registry.tampering import ATTACKS, run_tampering
from worldtune.core.progress import Progress, silent
from worldtune.evaluation.report.figures import Figure, figure
from worldtune.registry.exchange.oci_bundle import export_release
from worldtune.registry.governance.admin import enroll
from worldtune.registry.releases.add import add_release, store_files
from worldtune.registry.signing.keys import public_key_path
from worldtune.registry.store.manifest import build_manifest

ROUNDS = 20
LARGE = 186_000_000  # bytes: a LoRA of rank 16 on every linear of the 14B, in bf16
PARTS = 8


def measure(*, quick: bool, on_part: Progress = silent) -> list[Figure]:
    """Return every figure; with `quick`, of a smaller run."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        stack.enter_context(own_folders(place))
        adapter = make_adapter(place / "adapter")
        server = None if find_binaries() is None else stack.enter_context(run_server())
        parts: list[Iterator[Figure]] = [
            _crowd(place / "sqlite", adapter, None, quick),
            _crowd(place / "postgresql", adapter, server, quick) if server else _without_postgres(),
            _killed(place, adapter, quick),
            measure_many_releases(place / "many", adapter, quick),
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
        found = run_crowd(make_site(folder, adapter, database), processes, rounds)
        seconds = time.perf_counter() - started
    kind = f"{folder.name}, {processes} processes × {rounds} additions and promotions"
    yield figure(f"{kind}: lost", found.lost, "", "lower", 0)
    yield figure(f"{kind}: numbers reused", found.reused, "", "lower", 0)
    yield figure(f"{kind}: extra winners of a generation", found.extra_winners, "", "lower", 0)
    yield figure(f"{kind}: faults of the chain", found.faults, "", "lower", 0)
    yield figure(f"{kind}: promotions that lost a race and got an error", found.conflicts, "", "lower")
    yield figure(f"{kind}: time", seconds, "s", "lower")


def _without_postgres() -> Iterator[Figure]:
    yield figure("postgresql", None, "", "lower", 0, "PostgreSQL is not installed: apt-get install postgresql")


def _killed(place: Path, adapter: Path, quick: bool) -> Iterator[Figure]:
    times = 6 if quick else 100
    here, away = make_site(place / "killed", adapter), make_site(place / "sender", adapter)
    sender, registry = away.registry(), here.registry()
    add_release(sender, away.key("sam"), NAME, away.copy_adapter("sent"))
    export_release(sender, f"{NAME}@1", place / "sent.tar")
    enroll(registry, here.key("ann"), "sam", public_key_path(away.folder / "keys" / "sam.pem"), ("submitter",), None)
    registry.engine.dispose()
    wrong, cut = kill_repeatedly(here, place / "sent.tar", times)
    at = ", ".join(f"{count} during {act}" for act, count in cut.items())
    yield figure(f"kill -9 at {times} points ({at}): invalid registries afterwards", wrong, "", "lower", 0)


def _large(folder: Path, adapter: Path, quick: bool) -> Iterator[Figure]:
    """Measure the verification of a large adapter beyond reading its bytes."""
    size = 1_000_000 if quick else LARGE
    site: Site = make_site(folder, adapter)
    registry, source = site.registry(), folder / "source"
    source.mkdir()
    save_file({"lora": torch.zeros(size // 2, dtype=torch.bfloat16)}, source / "pytorch_lora_weights.safetensors")
    manifest = build_manifest(source)
    store_files(registry, source, manifest)
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
    refused = {name: why for name, why in run_tampering(place, adapter) if why is not None}
    passed = ", ".join(name for name in ATTACKS if name not in refused)
    name = f"tampering detected and named, of {len(ATTACKS)} classes{f' (not: {passed})' if passed else ''}"
    yield figure(name, len(refused), "", "higher", len(ATTACKS))


def _attacked(place: Path, adapter: Path) -> Iterator[Figure]:
    for kind, tried, accepted in attacks(place, adapter):
        named = f" ({', '.join(accepted)})" if accepted else ""
        yield figure(f"attacks accepted, {kind}, of {tried}{named}", len(accepted), "", "lower", 0)


def _histories(place: Path, server: str | None, quick: bool) -> Iterator[Figure]:
    """Run random histories on both databases: honest acts, appended events, and database changes."""
    try:
        from benchmarks.registry.random_histories import run_histories
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
        details = ", ".join(f"{number} {what}" for what, number in sorted(counts.items()))
        name = f"{kind}, {done} random histories ({details}): misled a reader{why}"
        yield figure(name, int(bool(why)), "", "lower", 0)
