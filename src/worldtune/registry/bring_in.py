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
from worldtune.errors import RecipeError, RegistryError, TamperError
from worldtune.files import digest_bytes
from worldtune.registry.add import next_number, sound_card
from worldtune.registry.bundle import Bundle, unpack
from worldtune.registry.facts import BY_KIND, Approved, Evaluated, Fact, Released
from worldtune.registry.people import Holder
from worldtune.registry.record import Event, Writer
from worldtune.registry.registry import Registry
from worldtune.registry.statements import opened, said, signed_by
from worldtune.strict import parse


@dataclass(frozen=True)
class Brought:
    """What came in: the release, the statements that count here, and why others do not."""

    release: Event[Released]
    counted: tuple[Event[Any], ...]
    left_out: tuple[str, ...]


def bring_in(registry: Registry, signer: CryptoSigner, source: Path, name: str | None = None) -> Brought:
    """Import a tar that `export` wrote, as `name` (its own when not given).

    Raises RegistryError for a tar that is not as it was written, an author who is not enrolled here, and a release that
    was signed by somebody else than its provenance; nothing is changed then.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "blobs"
        folder.mkdir()
        bundle = unpack(source, folder)
        card = _card(bundle, Path(place) / "adapter")
        with registry.view() as view:
            holders = view.people.holders
        stated, author = _release_stated(bundle, holders, str(source))
        for entry in bundle.manifest.files:
            registry.store.put(bundle.blob(entry.sha256), entry)
        for text in (bundle.manifest.content, bundle.provenance, *bundle.results):
            registry.store.put_bytes(text)
        with registry.writer(signer) as writer:
            release = _released(writer, bundle, card, stated, author, name)
            counted, left_out = [], []
            for envelope, fact, why in _statements(writer, bundle, stated):
                if why or fact is None:
                    left_out.append(why)
                    continue
                here = {"adapter": release.fact.adapter, "number": release.fact.number}
                counted.append(writer.append(fact.model_copy(update=here | {"statement": envelope.decode()})))
    return Brought(release, tuple(counted), tuple(left_out))


def _card(bundle: Bundle, folder: Path) -> AdapterCard:
    """The adapter's card. Raises AdapterError unless the weights are those of it."""
    folder.mkdir()
    for entry in bundle.manifest.files:
        (folder / entry.name).symlink_to(bundle.blob(entry.sha256))
    return sound_card(folder)


def _release_stated(bundle: Bundle, holders: dict[str, Holder], where: str) -> tuple[Released, str]:
    """What its author signed of it. Raises RegistryError when that is nobody who is enrolled here."""
    for envelope in bundle.statements:
        if BY_KIND.get(said(envelope, where).get("predicateType", "")) is Released:
            holder = _holder(holders, envelope, where)
            stated = parse(Released, opened(envelope, holder.key, where)["predicate"]["fact"], where)
            if stated.digest != bundle.manifest.digest or stated.provenance != digest_bytes(bundle.provenance):
                raise TamperError("its author signed another release", where=where, mend="Ask for it again.")
            opened(bundle.provenance, _holder(holders, bundle.provenance, where).key, where)
            return stated, stated.author
    raise TamperError("nobody signed it", where=where, mend="Ask the sender to export it again.")


def _holder(holders: dict[str, Holder], envelope: bytes, where: str) -> Holder:
    key = signed_by(envelope, where)
    holder = holders.get(key)
    if holder is None or holder.stolen:
        state = "stolen" if holder else "not known here"
        mend = "Have its author enrolled: worldtune registry enrol NAME KEY.pub --role submitter."
        raise RegistryError(f"the key {key[:12]} that signed it is {state}", where=where, mend=mend)
    return holder


def _released(
    writer: Writer, bundle: Bundle, card: AdapterCard, stated: Released, author: str, name: str | None
) -> Event[Released]:
    adapter = name or stated.adapter
    if known := writer.facts(Released, adapter=adapter, digest=stated.digest):
        return known[0]
    by_name = {entry.name: entry.sha256 for entry in bundle.manifest.files}
    here = {
        "adapter": adapter,
        "number": next_number(writer, adapter),
        "author": author,
        "weights": by_name[WEIGHTS],
        "card": by_name[CARD],
        "base": card.base_digest,
        "base_name": card.base,
        "size": bundle.manifest.size,
        "origin": stated.origin or stated.name,
    }
    return writer.append(stated.model_copy(update=here))


def _statements(
    writer: Writer, bundle: Bundle, release: Released
) -> Iterator[tuple[bytes, Evaluated | Approved | None, str]]:
    """Each evaluation and approval with what it says, or why it does not count here."""
    results = {digest_bytes(text) for text in bundle.results}
    for envelope in bundle.statements:
        kind = BY_KIND.get(said(envelope, "import").get("predicateType", ""))
        if kind is Released:
            continue
        try:
            holder = _holder(writer.people.holders, envelope, "import")
            predicate = opened(envelope, holder.key, "import")["predicate"]
            if predicate.get("registry") == writer.registry:  # it was said here, and is in the record
                continue
            if kind not in (Evaluated, Approved):
                raise RegistryError("it is no evaluation and no approval", where="import", mend="Leave it.")
            fact: Fact = parse(kind, predicate["fact"], "import")
            assert isinstance(fact, Evaluated | Approved)
            if fact.digest != release.digest or fact.person != holder.person:
                raise TamperError("it speaks of another release or person", where="import", mend="Leave it.")
            if isinstance(fact, Evaluated) and fact.results not in results:
                raise TamperError("its results did not come along", where="import", mend="Export it again.")
            writer.people.may(holder, fact, writer.at, fact.told)
        except (RegistryError, RecipeError) as error:
            yield envelope, None, str(error)
            continue
        if not writer.facts(kind, digest=fact.digest, statement=envelope.decode()):
            yield envelope, fact, ""
