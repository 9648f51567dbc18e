"""What is released is what was stated: a release's facts beside the files of its manifest."""

from worldtune.adapters.card import CARD, WEIGHTS, AdapterCard, parse_card
from worldtune.errors import AdapterError, RegistryError, TamperError
from worldtune.registry.facts import Released
from worldtune.registry.log.state import State
from worldtune.registry.manifest import Manifest
from worldtune.registry.statements import opened, said, signed_by
from worldtune.registry.store import Store

MAPPINGS = ("base", "datasets", "clips", "versions", "machine")
MEND = "Do not use it: whoever released it stated what is not in it. See `worldtune registry audit`."


def check_stated(store: Store, release: Released) -> Manifest:
    """The manifest of a release, of which weights, card, base and size are those that the release states.

    Raises TamperError when one is another, or the manifest or the card is not what was stored.
    """
    manifest = store.manifest(release.digest)
    files = {entry.name: entry.sha256 for entry in manifest.files}
    card = card_of(store, files.get(CARD, ""), release)
    found = {
        "weights": files.get(WEIGHTS), "card": files.get(CARD), "size": manifest.size, "base": card.base_digest,
        "base_name": card.base,
    }  # fmt: skip
    other = [name for name, value in found.items() if getattr(release, name) != value]
    if card.weights_digest != release.weights and "weights" not in other:
        other.append("weights")
    if other:
        what = f"{release.name} states another {' and '.join(other)} than its files have"
        raise TamperError(what, where=release.name, mend=MEND)
    return manifest


def card_of(store: Store, digest: str, release: Released) -> AdapterCard:
    """The card that is in the store. Raises TamperError when the release has none, or it is not what was written."""
    if not digest:
        raise TamperError(f"{release.name} has no {CARD}", where=release.name, mend=MEND)
    content = store.read(digest)
    try:
        return parse_card(content, release.name)
    except AdapterError as error:
        raise TamperError(f"the card cannot be used: {error.what}", where=release.name, mend=MEND) from error


def check_lineage(card: AdapterCard, where: str) -> None:
    """Raises RegistryError for a card whose lineage says nothing that is known of what it was made from."""
    if strange := [part for part in MAPPINGS if not isinstance(card.lineage.get(part, {}), dict)]:
        what = f"its lineage says nothing that is known of {strange[0]}"
        raise RegistryError(what, where=where, mend="Export it anew.")


def verify_bytes(store: Store, state: State, release: Released) -> Manifest:
    """Raises TamperError unless the store has a release's every byte as it was, and they are what it states.

    Its provenance must be signed by its author, about these files.
    """
    store.check_all(store.manifest(release.digest))  # first, as it names the file
    manifest = check_stated(store, release)
    verify_signed_provenance(store, state, release)
    return manifest


def verify_signed_provenance(store: Store, state: State, release: Released) -> None:
    """Raises TamperError unless a release's provenance is about its files, and its author signed it."""
    where = f"{release.name}, provenance"
    provenance = store.read(release.provenance)
    identity = state.identities.get(signed_by(provenance, where))
    if identity is None or identity.person != release.author:
        raise TamperError("its provenance is not signed by its author", where=where, mend=MEND)
    opened(provenance, identity.public, where)
    check_provenance(provenance, release.digest, where)


def check_provenance(provenance: bytes, digest: str, where: str) -> None:
    """Raises TamperError unless a provenance is about the manifest of that digest."""
    try:
        subjects = {one["digest"]["sha256"] for one in said(provenance, where)["subject"]}
    except (KeyError, TypeError) as error:
        raise RegistryError("its provenance is about nothing", where=where, mend=MEND) from error
    if digest not in subjects:
        raise TamperError("its provenance is about another release", where=where, mend=MEND)
