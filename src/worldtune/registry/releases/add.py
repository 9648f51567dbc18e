"""Add the adapter in an adapter or run folder as the next release of a name."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from worldtune.adapters.card import CARD, WEIGHTS, AdapterCard, read_card
from worldtune.adapters.checkpoint import read_verified_card
from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import digest_file, scratch_folder
from worldtune.core.strict_io import read_json
from worldtune.errors import RegistryError
from worldtune.registry.events.events import ReleaseAdded, make_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.resolve import describe_revocation, find_release, find_revocation, releases_with_digest
from worldtune.registry.log.rules import next_number
from worldtune.registry.log.state import State
from worldtune.registry.log.writer import Writer
from worldtune.registry.names import check_name
from worldtune.registry.registry import Registry
from worldtune.registry.releases.check_on_base import check_on_base
from worldtune.registry.releases.provenance import build_provenance
from worldtune.registry.releases.verify_release import check_lineage, check_release_files
from worldtune.registry.signing.dsse import sign
from worldtune.registry.store.manifest import Manifest, build_manifest

ADAPTER_FOLDER = "adapter"
RUN_FILES = ("recipe.yaml", "lineage.json", "ledger.parquet", "environment.txt")


@dataclass(frozen=True)
class ReleaseMetadata:
    """What a person states of a new release: calibration file digest, parent, labels, and the place it came from."""

    calibration: str | None = None
    parent: str | None = None
    labels: Mapping[str, str] | None = None
    origin: str | None = None


def add_release(
    registry: Registry,
    signer: CryptoSigner,
    name: str,
    source: Path,
    metadata: ReleaseMetadata | None = None,
    notify: Callable[[str], None] = lambda text: None,
) -> Event[ReleaseAdded]:
    """Store an adapter's files and its run's records as the next release of `name`.

    Identical bytes return the existing release. `notify` receives what `check_on_base` could not check. Raise
    RegistryError for an unsupported file, a revoked parent, or a key that may not add; AdapterError if the adapter is
    damaged or does not fit its base.
    """
    check_name(name)
    metadata = metadata or ReleaseMetadata()
    with scratch_folder() as scratch:
        folder = collect_files(source, scratch / "release")
        manifest, card = build_manifest(folder), read_valid_card(folder)
        with registry.writer(signer) as writer:  # check permissions and metadata before the work
            if existing_release := _find_existing(writer.state, name, manifest, metadata):
                return existing_release
            writer.check_fact(_make_release_fact(writer, name, manifest, card, metadata, manifest.digest))
        check_on_base(folder, card, notify)
        store_files(registry, folder, manifest)
        statement = sign(build_provenance(name, manifest, card, folder), signer)
        provenance_digest = registry.store.put_bytes(statement)
        with registry.writer(signer) as writer:
            if existing_release := _find_existing(writer.state, name, manifest, metadata):
                return existing_release
            fact = _make_release_fact(writer, name, manifest, card, metadata, provenance_digest)
            check_release_files(registry.store, fact)
            return writer.append(fact)


def collect_files(source: Path, target: Path) -> Path:
    """Copy an adapter's files, and a run's records of its inputs, into a new folder.

    Links are copied as links, and rejected later. Raise RegistryError if there is no adapter.
    """
    is_run = (source / ADAPTER_FOLDER / CARD).is_file()
    folder = source / ADAPTER_FOLDER if is_run else source
    if not (folder / CARD).is_file():
        what = f"there is no adapter here: neither {CARD} nor {ADAPTER_FOLDER}/{CARD} exists"
        raise RegistryError(what, where=str(source), hint="Specify a run folder or an adapter folder.")
    shutil.copytree(folder, target, symlinks=True)
    for name in RUN_FILES if is_run else ():
        if (source / name).exists() or (source / name).is_symlink():
            shutil.copy2(source / name, target / name, follow_symlinks=False)
    return target


def read_valid_card(folder: Path) -> AdapterCard:
    """Return the card of an adapter's folder.

    Raise AdapterError unless the weights match the card, RegistryError if the lineage cannot be read.
    """
    card = read_verified_card(folder, read_card(folder).base_digest)
    try:
        canonical_json(card.lineage)
    except ValueError as error:
        what = f"its lineage is not valid JSON: {error}"
        raise RegistryError(what, where=str(folder), hint="Export the adapter again.") from error
    check_lineage(card, str(folder))
    run = folder / "lineage.json"
    if run.is_file() and not isinstance(read_json(run, error=RegistryError), dict):
        raise RegistryError("lineage.json is not a mapping", where=str(folder), hint="Remove this file.")
    return card


def store_files(registry: Registry, folder: Path, manifest: Manifest) -> None:
    """Store a release's bytes. They are unreferenced until an event names them."""
    for entry in manifest.files:
        registry.store.put(folder / entry.name, entry)
    registry.store.put_bytes(manifest.content)


def _find_existing(
    state: State, name: str, manifest: Manifest, metadata: ReleaseMetadata
) -> Event[ReleaseAdded] | None:
    """Return the existing release of these bytes, or None. Raise RegistryError if its metadata differ."""
    found = [event for event in releases_with_digest(state, manifest.digest) if event.fact.adapter == name]
    if not found:
        return None
    stored = found[0].fact
    if revoked := find_revocation(state, stored):
        raise RegistryError(describe_revocation(stored, revoked), where=name, hint="Add another adapter.")
    parent = _find_parent(state, name, metadata.parent)
    for new, existing in (
        (metadata.calibration, stored.calibration),
        (parent, stored.parent),
        (metadata.labels, stored.labels),
    ):
        if new and new != existing:
            what = f"identical files are already released as {stored.name}, with different metadata"
            hint = "Add it without options; metadata cannot change, except labels by `worldtune registry label`."
            raise RegistryError(what, where=name, hint=hint)
    return found[0]


def _find_parent(state: State, name: str, reference: str | None) -> str | None:
    """Return the digest of the parent. Raise RegistryError if it does not exist or is revoked."""
    if reference is None:
        return None
    parent = find_release(state, reference).release.fact
    if revoked := find_revocation(state, parent):
        what = f"its parent {reference} is revoked: {revoked.fact.reason}"
        hint = "Train from another release, or omit --parent if it is not the parent."
        raise RegistryError(what, where=name, hint=hint)
    return parent.digest


def _make_release_fact(
    writer: Writer, name: str, manifest: Manifest, card: AdapterCard, metadata: ReleaseMetadata, statement: str
) -> ReleaseAdded:
    by_name = {entry.name: entry.sha256 for entry in manifest.files}
    stated = {
        "adapter": name, "number": next_number(writer.state, name), "digest": manifest.digest,
        "author": writer.identity.person, "weights": by_name[WEIGHTS], "card": by_name[CARD],
        "base": card.base_digest, "base_name": card.base, "size": manifest.size, "provenance": statement,
        "calibration": metadata.calibration, "parent": _find_parent(writer.state, name, metadata.parent),
        "labels": dict(metadata.labels or {}), "origin": metadata.origin,
    }  # fmt: skip
    return make_fact(ReleaseAdded, stated)


def digest_calibration(path: Path) -> str:
    """Return the digest of a camera calibration file. Raise RegistryError if it does not exist."""
    if not path.is_file():
        raise RegistryError("there is no calibration file", where=str(path), hint="Correct the path.")
    return digest_file(path)
