"""Verify that a release's files and provenance match its signed statement."""

from worldtune.adapters.card import CARD, WEIGHTS, AdapterCard, parse_card
from worldtune.errors import AdapterError, RegistryError, TamperError
from worldtune.registry.events.events import ReleaseAdded
from worldtune.registry.log.state import State
from worldtune.registry.signing.dsse import envelope_key_id, unverified_statement, verify_envelope
from worldtune.registry.store.blob_store import BlobStore
from worldtune.registry.store.manifest import Manifest

LINEAGE_SECTIONS = ("base", "datasets", "clips", "versions", "machine")
HINT = "Do not use this release: its signed statement does not match its files. See `worldtune registry audit`."


def check_release_files(store: BlobStore, release: ReleaseAdded) -> Manifest:
    """Return the manifest of a release after comparing weights, card, base and size with its statement.

    Raise TamperError if one differs, or the manifest or the card was changed in the store.
    """
    manifest = store.manifest(release.digest)
    files = {entry.name: entry.sha256 for entry in manifest.files}
    card = load_card(store, files.get(CARD, ""), release)
    found = {
        "weights": files.get(WEIGHTS), "card": files.get(CARD), "size": manifest.size, "base": card.base_digest,
        "base_name": card.base,
    }  # fmt: skip
    mismatched = [name for name, value in found.items() if getattr(release, name) != value]
    if card.weights_digest != release.weights and "weights" not in mismatched:
        mismatched.append("weights")
    if mismatched:
        what = f"{release.name} states a different {' and '.join(mismatched)} than its files have"
        raise TamperError(what, where=release.name, hint=HINT)
    return manifest


def load_card(store: BlobStore, digest: str, release: ReleaseAdded) -> AdapterCard:
    """Return the card in the store. Raise TamperError if the release has none or it was changed."""
    if not digest:
        raise TamperError(f"{release.name} has no {CARD}", where=release.name, hint=HINT)
    content = store.read(digest)
    try:
        return parse_card(content, release.name)
    except AdapterError as error:
        raise TamperError(f"the card cannot be used: {error.what}", where=release.name, hint=HINT) from error


def check_lineage(card: AdapterCard, where: str) -> None:
    """Raise RegistryError if a section of the card's lineage is not a mapping."""
    if unknown := [part for part in LINEAGE_SECTIONS if not isinstance(card.lineage.get(part, {}), dict)]:
        what = f"the section {unknown[0]} of its lineage is not a mapping"
        raise RegistryError(what, where=where, hint="Export the adapter again.")


def verify_release(store: BlobStore, state: State, release: ReleaseAdded) -> Manifest:
    """Verify a release: its bytes in the store, its statement, and its author's signed provenance of these files.

    Raise TamperError if any of them was changed.
    """
    store.check_all(store.manifest(release.digest))  # first, because its error names the file
    manifest = check_release_files(store, release)
    verify_signed_provenance(store, state, release)
    return manifest


def verify_signed_provenance(store: BlobStore, state: State, release: ReleaseAdded) -> None:
    """Raise TamperError unless a release's provenance is about its files and signed by its author."""
    where = f"{release.name}, provenance"
    provenance = store.read(release.provenance)
    identity = state.identities.get(envelope_key_id(provenance, where))
    if identity is None or identity.person != release.author:
        raise TamperError("its provenance is not signed by its author", where=where, hint=HINT)
    verify_envelope(provenance, identity.public, where)
    check_provenance(provenance, release.digest, where)


def check_provenance(provenance: bytes, digest: str, where: str) -> None:
    """Raise TamperError unless a provenance is about the manifest with this digest."""
    try:
        subjects = {subject["digest"]["sha256"] for subject in unverified_statement(provenance, where)["subject"]}
    except (KeyError, TypeError) as error:
        raise RegistryError("its provenance has no subject", where=where, hint=HINT) from error
    if digest not in subjects:
        raise TamperError("its provenance is about another release", where=where, hint=HINT)
