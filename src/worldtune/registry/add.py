"""Adding: an adapter's folder, or a run's, becomes the next release of a name."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from worldtune.adapters.card import CARD, WEIGHTS, AdapterCard, read_card
from worldtune.adapters.folder import read_sound_card
from worldtune.errors import RegistryError
from worldtune.files import digest_file, scratch_folder
from worldtune.registry.facts import Released, as_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.rules import next_number
from worldtune.registry.log.state import State
from worldtune.registry.log.writer import Writer
from worldtune.registry.manifest import Manifest, canonical, manifest_of, parse_json
from worldtune.registry.names import check_name
from worldtune.registry.provenance import provenance
from worldtune.registry.registry import Registry
from worldtune.registry.releases import find, revocation, same_bytes, why_revoked
from worldtune.registry.stated import check_lineage, check_stated
from worldtune.registry.statements import sign

ADAPTER = "adapter"
OF_RUN = ("recipe.yaml", "lineage.json", "ledger.parquet", "environment.txt")


@dataclass(frozen=True)
class About:
    """What is said of a release when it is added; `calibration` is that file's digest, `origin` whence it came."""

    calibration: str | None = None
    parent: str | None = None
    labels: Mapping[str, str] | None = None
    origin: str | None = None


def add(
    registry: Registry, signer: CryptoSigner, name: str, source: Path, about: About | None = None
) -> Event[Released]:
    """Keep the adapter's bytes and what its run knows of itself, and make them the next release of `name`.

    The same bytes again are the release that they are already. Raises RegistryError for a file that is not taken, a
    parent that is revoked, or a key that may not; AdapterError for an adapter that is damaged.
    """
    check_name(name)
    about = about or About()
    with scratch_folder() as gathered:
        folder = gather(source, gathered / "release")
        manifest, card = manifest_of(folder), sound_card(folder)
        with registry.writer(signer) as writer:  # who may not, or asks for what cannot be, is refused before the work
            if known := _known(writer.state, name, manifest, about):
                return known
            writer.check(_released(writer, name, manifest, card, about, manifest.digest))
        put(registry, folder, manifest)
        statement = sign(provenance(name, manifest, card, folder), signer)
        kept = registry.store.put_bytes(statement)
        with registry.writer(signer) as writer:
            if known := _known(writer.state, name, manifest, about):
                return known
            fact = _released(writer, name, manifest, card, about, kept)
            check_stated(registry.store, fact)
            return writer.append(fact)


def gather(source: Path, target: Path) -> Path:
    """Copy what a release is made of into a new folder: an adapter's files, and of a run what it was made from.

    Links are copied as links, to be refused. Raises RegistryError when there is no adapter.
    """
    is_run = (source / ADAPTER / CARD).is_file()
    folder = source / ADAPTER if is_run else source
    if not (folder / CARD).is_file():
        what = f"there is no adapter here: neither {CARD} nor {ADAPTER}/{CARD}"
        raise RegistryError(what, where=str(source), mend="Name a run's folder, or an adapter's.")
    shutil.copytree(folder, target, symlinks=True)
    for name in OF_RUN if is_run else ():
        if (source / name).exists() or (source / name).is_symlink():
            shutil.copy2(source / name, target / name, follow_symlinks=False)
    return target


def sound_card(folder: Path) -> AdapterCard:
    """The card of an adapter's folder.

    Raises AdapterError unless its weights are those of the card, RegistryError for a lineage that cannot be read.
    """
    card = read_sound_card(folder, read_card(folder).base_digest)
    try:
        canonical(card.lineage)
    except ValueError as error:
        raise RegistryError(f"its lineage is no JSON: {error}", where=str(folder), mend="Export it anew.") from error
    check_lineage(card, str(folder))
    run = folder / "lineage.json"
    if run.is_file() and not isinstance(parse_json(run.read_bytes(), str(run)), dict):
        raise RegistryError("lineage.json says nothing that is known", where=str(folder), mend="Leave it out.")
    return card


def put(registry: Registry, folder: Path, manifest: Manifest) -> None:
    """Keep a release's bytes. Nothing names them until a fact does."""
    for entry in manifest.files:
        registry.store.put(folder / entry.name, entry)
    registry.store.put_bytes(manifest.content)


def _known(state: State, name: str, manifest: Manifest, about: About) -> Event[Released] | None:
    """The release that these bytes are already. Raises RegistryError when something else is said of them than was."""
    found = [event for event in same_bytes(state, manifest.digest) if event.fact.adapter == name]
    if not found:
        return None
    its = found[0].fact
    if revoked := revocation(state, its):
        raise RegistryError(why_revoked(its, revoked), where=name, mend="Add another adapter.")
    parent = _parent(state, name, about.parent)
    for said, stands in ((about.calibration, its.calibration), (parent, its.parent), (about.labels, its.labels)):
        if said and said != stands:
            what = f"these bytes are {its.name} already, of which something else was said"
            mend = "What is said of a release is said once; labels are changed by `worldtune registry label`."
            raise RegistryError(what, where=name, mend=mend)
    return found[0]


def _parent(state: State, name: str, reference: str | None) -> str | None:
    """The digest of the parent. Raises RegistryError for one that there is not, or that is revoked."""
    if reference is None:
        return None
    parent = find(state, reference).release.fact
    if revoked := revocation(state, parent):
        what = f"its parent {reference} is revoked: {revoked.fact.reason}"
        raise RegistryError(what, where=name, mend="Train from another, or leave --parent out if it is none.")
    return parent.digest


def _released(
    writer: Writer, name: str, manifest: Manifest, card: AdapterCard, about: About, statement: str
) -> Released:
    by_name = {entry.name: entry.sha256 for entry in manifest.files}
    stated = {
        "adapter": name, "number": next_number(writer.state, name), "digest": manifest.digest,
        "author": writer.identity.person, "weights": by_name[WEIGHTS], "card": by_name[CARD],
        "base": card.base_digest, "base_name": card.base, "size": manifest.size, "provenance": statement,
        "calibration": about.calibration, "parent": _parent(writer.state, name, about.parent),
        "labels": dict(about.labels or {}), "origin": about.origin,
    }  # fmt: skip
    return as_fact(Released, stated)


def calibration_digest(path: Path) -> str:
    """The digest of a camera's calibration file. Raises RegistryError when there is none."""
    if not path.is_file():
        raise RegistryError("there is no calibration file", where=str(path), mend="Correct the path.")
    return digest_file(path)
