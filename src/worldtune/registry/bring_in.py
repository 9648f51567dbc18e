"""Importing: a release from another site becomes the next number here, with what was said of it there.

Statements keep their signatures. They count only where their signer is enrolled here, in the role it takes: what
another site's people approved, this site has not, unless it knows them.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.adapters.card import CARD, AdapterCard
from worldtune.adapters.folder import WEIGHTS
from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.files import digest_bytes
from worldtune.registry.add import next_number, sound_card
from worldtune.registry.brought import spoken
from worldtune.registry.bundle import Bundle, unpack
from worldtune.registry.evidence import judged
from worldtune.registry.facts import BY_KIND, Approved, Evaluated, Released
from worldtune.registry.names import check_name
from worldtune.registry.record import Event, Writer
from worldtune.registry.registry import Registry
from worldtune.registry.releases import refuse_revoked_bytes
from worldtune.registry.statements import opened, payload_of, said, signed_by

HERE = "import"


@dataclass(frozen=True)
class Imported:
    """What came in: the release, the statements that count here, and why others do not."""

    release: Event[Released]
    counted: tuple[Event[Any], ...]
    left_out: tuple[str, ...]


def bring_in(registry: Registry, signer: CryptoSigner, source: Path, name: str | None = None) -> Imported:
    """Import a tar that `export` wrote, as `name` (its own when not given).

    Raises RegistryError for a tar that is not as it was written, or an author who is not enrolled here as a submitter;
    nothing is changed then.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "blobs"
        folder.mkdir()
        bundle = unpack(source, folder)
        card = _card(bundle, Path(place) / "adapter")
        with registry.writer(signer) as writer:  # who may not is refused before the work
            if not _made_here(writer, bundle, name, str(source)):
                writer.may(_released(writer, bundle, card, name, str(source)))
        for entry in bundle.manifest.files:
            registry.store.put(bundle.blob(entry.sha256), entry)
        for text in (bundle.manifest.content, bundle.provenance, *bundle.results):
            registry.store.put_bytes(text)
        with registry.writer(signer) as writer:
            if own := _made_here(writer, bundle, name, str(source)):
                release = own
            else:
                fact = _released(writer, bundle, card, name, str(source))
                known = writer.facts(Released, adapter=fact.adapter, digest=fact.digest)
                release = known[0] if known else writer.append(fact)
            counted, left_out = [], []
            for envelope, kind in _others(bundle):
                try:
                    if found := _statement(writer, bundle, card, envelope, kind, release.fact):
                        counted.append(writer.append(found))
                except UserError as error:
                    left_out.append(str(error))
    return Imported(release, tuple(counted), tuple(left_out))


def _card(bundle: Bundle, folder: Path) -> AdapterCard:
    """The adapter's card. Raises AdapterError unless the weights are those of it."""
    folder.mkdir()
    for entry in bundle.manifest.files:
        (folder / entry.name).symlink_to(bundle.blob(entry.sha256))
    return sound_card(folder)


def _made_here(writer: Writer, bundle: Bundle, name: str | None, where: str) -> Event[Released] | None:
    """The release itself, where it comes back to the registry that it is of."""
    predicate = said(_of_author(bundle, where), where)["predicate"]
    if predicate.get("registry") != writer.registry:
        return None
    for event in writer.facts(Released, digest=bundle.manifest.digest):
        if name in (None, event.fact.adapter):
            return event
    what = "it is of this registry, under another name"
    raise RegistryError(what, where=where, mend="Add the adapter under the other name.")


def _released(writer: Writer, bundle: Bundle, card: AdapterCard, name: str | None, where: str) -> Released:
    """The release as it will stand here, from what its author signed.

    Raises RegistryError when nobody here did, or it is revoked here.
    """
    envelope = _of_author(bundle, where)
    sequence = writer.head().sequence + 1
    holder, stated = spoken(writer, envelope, Released, writer.at, sequence, where)
    by_name = {entry.name: entry.sha256 for entry in bundle.manifest.files}
    holds = {
        "digest": bundle.manifest.digest, "provenance": digest_bytes(bundle.provenance), "weights": by_name[WEIGHTS],
        "card": by_name[CARD], "base": card.base_digest, "base_name": card.base, "size": bundle.manifest.size,
    }  # fmt: skip
    subjects = {its["digest"]["sha256"] for its in said(bundle.provenance, where)["subject"]}
    if any(getattr(stated, part) != value for part, value in holds.items()) or stated.digest not in subjects:
        raise TamperError("its author signed another release", where=where, mend="Ask for it again.")
    if stated.parent == stated.digest or holder.stolen:
        raise TamperError("it says that it came from itself, or its key was stolen", where=where, mend="Leave it.")
    opened(bundle.provenance, writer.people.holder(signed_by(bundle.provenance, where), where).key, where)
    adapter = check_name(name or stated.adapter)
    here = {"adapter": adapter, "number": next_number(writer, adapter), "author": holder.person,
            "origin": stated.origin or stated.name, "statement": envelope.decode()}  # fmt: skip
    release = stated.model_copy(update=here)
    refuse_revoked_bytes(writer, release.digest, where)
    return release


def _of_author(bundle: Bundle, where: str) -> bytes:
    for envelope in bundle.statements:
        if BY_KIND.get(str(said(envelope, where).get("predicateType"))) is Released:
            return envelope
    raise TamperError("nobody signed it", where=where, mend="Ask the sender to export it again.")


def _others(bundle: Bundle) -> Iterator[tuple[bytes, type[Any]]]:
    """Evaluations and approvals, each registry's in the order in which they were said there."""

    def place(envelope: bytes) -> tuple[str, int]:
        predicate = said(envelope, HERE)["predicate"]
        sequence = predicate.get("sequence")
        return str(predicate.get("registry")), sequence if isinstance(sequence, int) else 0

    for envelope in sorted(bundle.statements, key=place):
        kind = BY_KIND.get(str(said(envelope, HERE).get("predicateType")))
        if kind is not None and kind is not Released:
            yield envelope, kind


def _statement(
    writer: Writer, bundle: Bundle, card: AdapterCard, envelope: bytes, kind: type[Any], release: Released
) -> Evaluated | Approved | None:
    """What a statement says, as it will stand here; None for one that is here already.

    Raises RegistryError when it does not count here.
    """
    if said(envelope, HERE)["predicate"].get("registry") == writer.registry:
        return None  # it was said here, and is in the record
    if kind not in (Evaluated, Approved):
        raise RegistryError("it is no evaluation and no approval", where=HERE, mend="Leave it.")
    holder, signed = spoken(writer, envelope, kind, writer.at, writer.head().sequence + 1, HERE)
    if signed.digest != release.digest or signed.person != holder.person or holder.stolen:
        what = f"{signed.told}: of another release or person, or by a stolen key"
        raise TamperError(what, where=HERE, mend="Leave it.")
    if isinstance(signed, Approved) and signed.adapter != release.adapter:
        what = f"{signed.told}: it was for {signed.adapter}, not for {release.adapter}"
        raise RegistryError(what, where=HERE, mend="Have it approved here.")
    if isinstance(signed, Evaluated):
        _check_results(bundle, card, signed, release)
    for event in writer.facts(kind, digest=signed.digest):
        if event.fact.statement and payload_of(event.fact.statement.encode(), HERE) == payload_of(envelope, HERE):
            return None
    here = {"adapter": release.adapter, "number": release.number, "statement": envelope.decode()}
    found: Evaluated | Approved = signed.model_copy(update=here)
    return found


def _check_results(bundle: Bundle, card: AdapterCard, signed: Evaluated, release: Released) -> None:
    """Raises UserError unless the results came along, and say what the evaluator signed."""
    by_digest = {digest_bytes(text): text for text in bundle.results}
    if signed.results not in by_digest:
        raise TamperError(f"{signed.told}: its results did not come along", where=HERE, mend="Export it again.")
    found = judged(by_digest[signed.results], release, card, HERE)
    if found != (signed.candidate, signed.outcome, signed.suite, signed.gates):
        raise TamperError(f"{signed.told}: its results say something else", where=HERE, mend="Evaluate it anew.")
