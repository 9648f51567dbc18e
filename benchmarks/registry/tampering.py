"""Tampering with each class of bytes: each must raise an error that names it, before it has an effect."""

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import text

from benchmarks.registry.site import NAME, Site, make_site
from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import digest_bytes
from worldtune.errors import UserError
from worldtune.registry.exchange.import_release import import_release
from worldtune.registry.exchange.oci_bundle import export_release
from worldtune.registry.governance.promotion import promote
from worldtune.registry.log.event_log import read_envelope
from worldtune.registry.registry import open_registry
from worldtune.registry.releases.add import add_release
from worldtune.registry.signing.dsse import verify_envelope
from worldtune.registry.store.database import read_transaction
from worldtune.registry.store.manifest import build_manifest
from worldtune.registry.verify import verify

Attack = Callable[[Path, Path], None]


def run_tampering(place: Path, adapter: Path) -> Iterator[tuple[str, str | None]]:
    """Yield each class of bytes with the error message that names it, or None if there was no such message."""
    for name, (attack, message) in ATTACKS.items():
        try:
            attack(place / name.replace(" ", "-"), adapter)
        except UserError as error:
            yield name, str(error) if message in str(error) else None
        else:
            yield name, None


def _promote_changed(folder: Path, adapter: Path, change: Callable[[Site], None]) -> None:
    """Change a release in the store or the log, promote it without a cache, and verify the registry."""
    site = make_site(folder, adapter)
    add_release(site.registry(), site.key("sam"), NAME, adapter)
    change(site)
    registry = open_registry(site.folder, ignore_cache=True)
    try:
        promote(registry, site.key("sam"), f"{NAME}@1", "staging")
    finally:
        assert not verify(registry).is_valid
        registry.engine.dispose()


def _blob(site: Site, file: str) -> Path:
    (entry,) = (one for one in build_manifest(site.adapter).files if one.name == file)
    return Path(site.registry().store.path(entry.sha256))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _weights(folder: Path, adapter: Path) -> None:
    _promote_changed(folder, adapter, lambda site: _flip(_blob(site, "pytorch_lora_weights.safetensors")))


def _card(folder: Path, adapter: Path) -> None:
    _promote_changed(folder, adapter, lambda site: _flip(_blob(site, "adapter.json")))


def _manifest(folder: Path, adapter: Path) -> None:
    digest = build_manifest(adapter).digest
    _promote_changed(folder, adapter, lambda site: _flip(Path(site.registry().store.path(digest))))


def _swapped(folder: Path, adapter: Path) -> None:
    def change(site: Site) -> None:
        weights, card = _blob(site, "pytorch_lora_weights.safetensors"), _blob(site, "adapter.json")
        weights.write_bytes(card.read_bytes())

    _promote_changed(folder, adapter, change)


def _link(folder: Path, adapter: Path) -> None:
    def change(site: Site) -> None:
        weights = _blob(site, "pytorch_lora_weights.safetensors")
        weights.rename(folder / "elsewhere")
        weights.symlink_to(folder / "elsewhere")

    _promote_changed(folder, adapter, change)


def _row(folder: Path, adapter: Path) -> None:
    def change(site: Site) -> None:
        with site.registry().engine.begin() as connection:
            connection.execute(text("DROP TRIGGER forbid_event_update"))
            connection.execute(
                text("UPDATE event SET envelope = replace(envelope, 'payload', 'Payload') WHERE sequence = 1")
            )

    _promote_changed(folder, adapter, change)


def _statement(folder: Path, adapter: Path) -> None:
    """Change one letter of the signed payload in an envelope."""
    site = make_site(folder, adapter)
    registry = site.registry()
    event = add_release(registry, site.key("sam"), NAME, adapter)
    with registry.view() as state, read_transaction(registry.engine) as connection:
        envelope, key = read_envelope(connection, event), state.identities[event.key].public
    registry.engine.dispose()
    verify_envelope(envelope, key, "statement")
    position = envelope.index(b'"payload":"') + 40
    other = b"A" if envelope[position : position + 1] != b"A" else b"B"
    verify_envelope(envelope[:position] + other + envelope[position + 1 :], key, "statement")


def _import_changed(folder: Path, adapter: Path, plant: Callable[[tarfile.TarFile], None]) -> None:
    """Change an exported tar, and import it at a site where its author is enrolled."""
    site = make_site(folder / "site", adapter)
    registry = site.registry()
    add_release(registry, site.key("sam"), NAME, adapter)
    tar = folder / "release.tar"
    export_release(registry, f"{NAME}@1", tar)
    with tarfile.open(tar, "a") as file:
        plant(file)
    try:
        import_release(registry, site.key("sam"), tar, "brought")
    finally:
        assert verify(registry).releases == 1
        registry.engine.dispose()


def _member(name: str, content: bytes = b"x") -> Callable[[tarfile.TarFile], None]:
    def plant(file: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))

    return plant


def _path_outside(folder: Path, adapter: Path) -> None:
    _import_changed(folder, adapter, _member("blobs/sha256/../../../escaped"))


def _link_in_tar(folder: Path, adapter: Path) -> None:
    def plant(file: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo("blobs/sha256/" + digest_bytes(b"x"))
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(entry)

    _import_changed(folder, adapter, plant)


def _bomb(folder: Path, adapter: Path) -> None:
    def plant(file: tarfile.TarFile) -> None:
        for number in range(300):
            content = canonical_json(number)
            _member("blobs/sha256/" + digest_bytes(content), content)(file)

    _import_changed(folder, adapter, plant)


def _case(folder: Path, adapter: Path) -> None:
    site = make_site(folder, adapter)
    source = site.copy_adapter("twice")
    (source / "ADAPTER.json").write_bytes((source / "adapter.json").read_bytes())
    add_release(site.registry(), site.key("sam"), NAME, source)


ATTACKS: dict[str, tuple[Attack, str]] = {
    "weights": (_weights, "the bytes of pytorch_lora_weights.safetensors were changed"),
    "card": (_card, "the bytes of adapter.json were changed"),
    "manifest": (_manifest, "the blob's bytes do not match its digest"),
    "statement": (_statement, "the signature is not valid"),
    "database row": (_row, "the event's bytes do not match its hash"),
    "blob swapped": (_swapped, "the bytes of pytorch_lora_weights.safetensors were changed"),
    "link planted in the store": (_link, "is a link"),
    "link planted in a tar": (_link_in_tar, "is a link"),
    "path with ..": (_path_outside, "does not belong in an exported release"),
    "case-colliding names": (_case, "two file names differ only in case"),
    "archive bomb": (_bomb, "the tar is larger than a release may be"),
}
