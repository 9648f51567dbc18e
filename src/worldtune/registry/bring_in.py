"""Importing: a release from another site becomes the next number here, with what was said of it there.

Statements keep their signatures. They count only where their signer is enrolled here, in the role it takes: what
another site's people approved, this site has not, unless it knows them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.adapters.card import CARD, WEIGHTS, AdapterCard
from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.files import digest_bytes, scratch_folder
from worldtune.registry.add import sound_card
from worldtune.registry.bundle import Bundle, unpack
from worldtune.registry.evidence import judged
from worldtune.registry.facts import BY_KIND, Approved, Evaluated, Released
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.rules import next_number
from worldtune.registry.log.statements_of_others import brought_key, identity_of, spoken
from worldtune.registry.log.writer import Writer
from worldtune.registry.names import check_name
from worldtune.registry.registry import Registry
from worldtune.registry.releases import same_bytes
from worldtune.registry.stated import check_provenance
from worldtune.registry.statements import opened, said, signed_by

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
    with scratch_folder() as place:
        folder = place / "blobs"
        folder.mkdir()
        bundle = unpack(source, folder)
        card = _card(bundle, place / "adapter")
        with registry.writer(signer) as writer:  # who may not is refused before the work
            found = _release(writer, bundle, card, name, str(source))
            if isinstance(found, Released):
                writer.check(found)
        for entry in bundle.manifest.files:
            registry.store.put(bundle.blob(entry.sha256), entry)
        for text in (bundle.manifest.content, bundle.provenance, *bundle.results):
            registry.store.put_bytes(text)
        with registry.writer(signer) as writer:
            found = _release(writer, bundle, card, name, str(source))
            release = writer.append(found) if isinstance(found, Released) else found
            counted, left_out = [], []
            for envelope, kind in _others(bundle):
                try:
                    if statement := _statement(writer, bundle, card, envelope, kind, release.fact):
                        counted.append(writer.append(statement))
                except UserError as error:
                    left_out.append(str(error))
    return Imported(release, tuple(counted), tuple(left_out))


def _card(bundle: Bundle, folder: Path) -> AdapterCard:
    """The adapter's card. Raises AdapterError unless the weights are those of it."""
    folder.mkdir()
    for entry in bundle.manifest.files:
        (folder / entry.name).symlink_to(bundle.blob(entry.sha256))
    return sound_card(folder)


def _release(
    writer: Writer, bundle: Bundle, card: AdapterCard, name: str | None, where: str
) -> Event[Released] | Released:
    """The release that is here already, else as it will stand here. Raises RegistryError when nobody here signed it."""
    if own := _made_here(writer, bundle, name, where):
        return own
    fact = _released(writer, bundle, card, name, where)
    known = [one for one in same_bytes(writer.state, fact.digest) if one.fact.adapter == fact.adapter]
    return known[0] if known else fact


def _made_here(writer: Writer, bundle: Bundle, name: str | None, where: str) -> Event[Released] | None:
    """The release itself, where it comes back to the registry that it is of."""
    predicate = said(_of_author(bundle, where), where)["predicate"]
    if predicate.get("registry") != writer.state.registry:
        return None
    for event in same_bytes(writer.state, bundle.manifest.digest):
        if name in (None, event.fact.adapter):
            return event
    what = "it is of this registry, under another name"
    raise RegistryError(what, where=where, mend="Add the adapter under the other name.")


def _released(writer: Writer, bundle: Bundle, card: AdapterCard, name: str | None, where: str) -> Released:
    """The release as it will stand here, from what its author signed. Raises RegistryError when nobody here did."""
    envelope = _of_author(bundle, where)
    identity, stated = spoken(writer.state, envelope, Released, writer.at, where)
    by_name = {entry.name: entry.sha256 for entry in bundle.manifest.files}
    holds = {
        "digest": bundle.manifest.digest, "provenance": digest_bytes(bundle.provenance), "weights": by_name[WEIGHTS],
        "card": by_name[CARD], "base": card.base_digest, "base_name": card.base, "size": bundle.manifest.size,
    }  # fmt: skip
    if any(getattr(stated, part) != value for part, value in holds.items()):
        raise TamperError("its author signed another release", where=where, mend="Ask for it again.")
    check_provenance(bundle.provenance, stated.digest, where)
    speaker = identity_of(writer.state, signed_by(bundle.provenance, where), where)
    if speaker.person != identity.person:
        raise TamperError("its provenance is signed by another person", where=where, mend="Ask for it again.")
    opened(bundle.provenance, speaker.public, where)
    adapter = check_name(name or stated.adapter)
    here = {"adapter": adapter, "number": next_number(writer.state, adapter), "author": identity.person,
            "origin": stated.origin or stated.name, "statement": envelope.decode()}  # fmt: skip
    return stated.model_copy(update=here)


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
    if said(envelope, HERE)["predicate"].get("registry") == writer.state.registry:
        return None  # it was said here, and is in the record
    if kind not in (Evaluated, Approved):
        raise RegistryError("it is no evaluation and no approval", where=HERE, mend="Leave it.")
    if brought_key(envelope) in writer.state.brought:
        return None
    _, signed = spoken(writer.state, envelope, kind, writer.at, HERE)
    if signed.digest != release.digest:
        raise TamperError(f"{signed.told}: of another release", where=HERE, mend="Leave it.")
    if isinstance(signed, Approved) and signed.adapter != release.adapter:
        what = f"{signed.told}: it was for {signed.adapter}, not for {release.adapter}"
        raise RegistryError(what, where=HERE, mend="Have it approved here.")
    if isinstance(signed, Evaluated):
        _check_results(bundle, card, signed, release)
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
