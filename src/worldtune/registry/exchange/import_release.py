"""Import: a release from another site becomes the next number here, with its evaluations and approvals.

Statements keep their signatures. A statement counts only if its signer is enrolled here in the required role, so an
approval by a person who is unknown here does not count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.adapters.card import CARD, WEIGHTS, AdapterCard
from worldtune.core.files import digest_bytes, scratch_folder
from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.registry.events.events import FACTS_BY_PREDICATE_TYPE, ReleaseAdded, ReleaseApproved, ReleaseEvaluated
from worldtune.registry.exchange.oci_bundle import Bundle, unpack_bundle
from worldtune.registry.governance.evidence import recompute_outcome
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.imported_statements import get_identity, statement_digest, verify_foreign_statement
from worldtune.registry.log.resolve import releases_with_digest
from worldtune.registry.log.rules import next_number
from worldtune.registry.log.writer import Writer
from worldtune.registry.names import check_name
from worldtune.registry.registry import Registry
from worldtune.registry.releases.add import read_valid_card
from worldtune.registry.releases.verify_release import check_provenance
from worldtune.registry.signing.dsse import envelope_key_id, unverified_statement, verify_envelope

IMPORT = "import"


@dataclass(frozen=True)
class ImportResult:
    """The imported release, the statements that count here, and why the others do not."""

    release: Event[ReleaseAdded]
    accepted: tuple[Event[Any], ...]
    rejected: tuple[str, ...]


def import_release(registry: Registry, signer: CryptoSigner, source: Path, name: str | None = None) -> ImportResult:
    """Import a tar that `export` wrote as `name` (default: the release's own name).

    Raise RegistryError if the tar was changed or its author is not enrolled here as a submitter; nothing is changed
    then.
    """
    with scratch_folder() as scratch:
        folder = scratch / "blobs"
        folder.mkdir()
        bundle = unpack_bundle(source, folder)
        card = _read_card(bundle, scratch / "adapter")
        with registry.writer(signer) as writer:  # check permissions before the work
            found = _find_or_make_release(writer, bundle, card, name, str(source))
            if isinstance(found, ReleaseAdded):
                writer.check_fact(found)
        for entry in bundle.manifest.files:
            registry.store.put(bundle.blob(entry.sha256), entry)
        for text in (bundle.manifest.content, bundle.provenance, *bundle.results):
            registry.store.put_bytes(text)
        with registry.writer(signer) as writer:
            found = _find_or_make_release(writer, bundle, card, name, str(source))
            release = writer.append(found) if isinstance(found, ReleaseAdded) else found
            accepted, rejected = [], []
            for envelope, kind in _other_statements(bundle):
                try:
                    if statement := _check_statement(writer, bundle, card, envelope, kind, release.fact):
                        accepted.append(writer.append(statement))
                except UserError as error:
                    rejected.append(str(error))
    return ImportResult(release, tuple(accepted), tuple(rejected))


def _read_card(bundle: Bundle, folder: Path) -> AdapterCard:
    """Return the adapter's card. Raise AdapterError unless it matches the weights."""
    folder.mkdir()
    for entry in bundle.manifest.files:
        (folder / entry.name).symlink_to(bundle.blob(entry.sha256))
    return read_valid_card(folder)


def _find_or_make_release(
    writer: Writer, bundle: Bundle, card: AdapterCard, name: str | None, where: str
) -> Event[ReleaseAdded] | ReleaseAdded:
    """Return the existing release, else the new event. Raise RegistryError if its author is not enrolled here."""
    if existing := _find_own_release(writer, bundle, name, where):
        return existing
    fact = _make_release_fact(writer, bundle, card, name, where)
    known = [event for event in releases_with_digest(writer.state, fact.digest) if event.fact.adapter == fact.adapter]
    return known[0] if known else fact


def _find_own_release(writer: Writer, bundle: Bundle, name: str | None, where: str) -> Event[ReleaseAdded] | None:
    """Return the existing release if the bundle was exported from this registry, else None."""
    predicate = unverified_statement(_author_envelope(bundle, where), where)["predicate"]
    if predicate.get("registry") != writer.state.registry:
        return None
    for event in releases_with_digest(writer.state, bundle.manifest.digest):
        if name in (None, event.fact.adapter):
            return event
    what = "this registry holds the release under another name"
    raise RegistryError(what, where=where, hint="Add the adapter under the other name.")


def _make_release_fact(writer: Writer, bundle: Bundle, card: AdapterCard, name: str | None, where: str) -> ReleaseAdded:
    """Return the event of the release here, from its author's statement. Raise RegistryError if unknown here."""
    envelope = _author_envelope(bundle, where)
    identity, stated = verify_foreign_statement(writer.state, envelope, ReleaseAdded, writer.at, where)
    digests_by_name = {entry.name: entry.sha256 for entry in bundle.manifest.files}
    actual = {
        "digest": bundle.manifest.digest, "provenance": digest_bytes(bundle.provenance),
        "weights": digests_by_name[WEIGHTS],
        "card": digests_by_name[CARD], "base": card.base_digest, "base_name": card.base, "size": bundle.manifest.size,
    }  # fmt: skip
    if any(getattr(stated, name) != value for name, value in actual.items()):
        raise TamperError("its author signed another release", where=where, hint="Ask the sender for it again.")
    check_provenance(bundle.provenance, stated.digest, where)
    signer_identity = get_identity(writer.state, envelope_key_id(bundle.provenance, where), where)
    if signer_identity.person != identity.person:
        raise TamperError("its provenance has another signer", where=where, hint="Ask the sender for it again.")
    verify_envelope(bundle.provenance, signer_identity.public, where)
    adapter = check_name(name or stated.adapter)
    local = {"adapter": adapter, "number": next_number(writer.state, adapter), "author": identity.person,
             "origin": stated.origin or stated.name, "statement": envelope.decode()}  # fmt: skip
    return stated.model_copy(update=local)


def _author_envelope(bundle: Bundle, where: str) -> bytes:
    for envelope in bundle.statements:
        if FACTS_BY_PREDICATE_TYPE.get(str(unverified_statement(envelope, where).get("predicateType"))) is ReleaseAdded:
            return envelope
    raise TamperError("the bundle holds no signed release", where=where, hint="Ask the sender to export it again.")


def _other_statements(bundle: Bundle) -> Iterator[tuple[bytes, type[Any]]]:
    """Yield evaluations and approvals, those of each registry in their order there."""

    def order(envelope: bytes) -> tuple[str, int]:
        predicate = unverified_statement(envelope, IMPORT)["predicate"]
        sequence = predicate.get("sequence")
        return str(predicate.get("registry")), sequence if isinstance(sequence, int) else 0

    for envelope in sorted(bundle.statements, key=order):
        kind = FACTS_BY_PREDICATE_TYPE.get(str(unverified_statement(envelope, IMPORT).get("predicateType")))
        if kind is not None and kind is not ReleaseAdded:
            yield envelope, kind


def _check_statement(
    writer: Writer, bundle: Bundle, card: AdapterCard, envelope: bytes, kind: type[Any], release: ReleaseAdded
) -> ReleaseEvaluated | ReleaseApproved | None:
    """Return the event of a statement here, or None if it is already here.

    Raise RegistryError if it does not count here.
    """
    if unverified_statement(envelope, IMPORT)["predicate"].get("registry") == writer.state.registry:
        return None  # the statement is from this registry and in its log
    if kind not in (ReleaseEvaluated, ReleaseApproved):
        raise RegistryError("the statement is neither an evaluation nor an approval", where=IMPORT, hint="Ignore it.")
    if statement_digest(envelope) in writer.state.imported_statements:
        return None
    _, signed = verify_foreign_statement(writer.state, envelope, kind, writer.at, IMPORT)
    if signed.digest != release.digest:
        raise TamperError(f"{signed.summary}: this is about another release", where=IMPORT, hint="Ignore it.")
    if isinstance(signed, ReleaseApproved) and signed.adapter != release.adapter:
        what = f"{signed.summary}: this approval is for {signed.adapter}, not for {release.adapter}"
        raise RegistryError(what, where=IMPORT, hint="Have it approved here.")
    if isinstance(signed, ReleaseEvaluated):
        _check_results(bundle, card, signed, release)
    local = {"adapter": release.adapter, "number": release.number, "statement": envelope.decode()}
    fact: ReleaseEvaluated | ReleaseApproved = signed.model_copy(update=local)
    return fact


def _check_results(bundle: Bundle, card: AdapterCard, signed: ReleaseEvaluated, release: ReleaseAdded) -> None:
    """Raise UserError unless the bundle holds the results and they match what the evaluator signed."""
    by_digest = {digest_bytes(text): text for text in bundle.results}
    if signed.results not in by_digest:
        what = f"{signed.summary}: its results are missing from the bundle"
        raise TamperError(what, where=IMPORT, hint="Ask the sender to export it again.")
    found = recompute_outcome(by_digest[signed.results], release, card, IMPORT)
    if found != (signed.candidate, signed.outcome, signed.suite, signed.gates):
        what = f"{signed.summary}: its results contradict it"
        raise TamperError(what, where=IMPORT, hint="Evaluate the release again.")
