"""Somebody changes one class of bytes after another: each must be refused, by its name, before anything comes of it."""

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import text

from worldtune.bench.registry_site import NAME, Site, make_site
from worldtune.errors import UserError
from worldtune.files import digest_bytes
from worldtune.registry.add import add
from worldtune.registry.bring_in import bring_in
from worldtune.registry.bundle import export
from worldtune.registry.database import reading
from worldtune.registry.log.event_log import envelope_of
from worldtune.registry.manifest import canonical, manifest_of
from worldtune.registry.promotion import promote
from worldtune.registry.registry import open_registry
from worldtune.registry.statements import opened
from worldtune.registry.verify import verify

Attack = Callable[[Path, Path], None]


def tampering(place: Path, adapter: Path) -> Iterator[tuple[str, str | None]]:
    """Each class of bytes with the line that refused it; None where nothing did, or it was not called by its name."""
    for name, (attack, said) in ATTACKS.items():
        try:
            attack(place / name.replace(" ", "-"), adapter)
        except UserError as error:
            yield name, str(error) if said in str(error) else None
        else:
            yield name, None


def _promoted(folder: Path, adapter: Path, change: Callable[[Site], None]) -> None:
    """Change something of a release in the store or the log, and promote it where nothing was verified; then verify."""
    site = make_site(folder, adapter)
    add(site.registry(), site.key("sam"), NAME, adapter)
    change(site)
    registry = open_registry(site.folder, from_nothing=True)
    try:
        promote(registry, site.key("sam"), f"{NAME}@1", "staging")
    finally:
        assert not verify(registry).sound
        registry.engine.dispose()


def _blob(site: Site, file: str) -> Path:
    (entry,) = (one for one in manifest_of(site.adapter).files if one.name == file)
    return Path(site.registry().store.path(entry.sha256))


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _weights(folder: Path, adapter: Path) -> None:
    _promoted(folder, adapter, lambda site: _flip(_blob(site, "pytorch_lora_weights.safetensors")))


def _card(folder: Path, adapter: Path) -> None:
    _promoted(folder, adapter, lambda site: _flip(_blob(site, "adapter.json")))


def _manifest(folder: Path, adapter: Path) -> None:
    digest = manifest_of(adapter).digest
    _promoted(folder, adapter, lambda site: _flip(Path(site.registry().store.path(digest))))


def _swapped(folder: Path, adapter: Path) -> None:
    def change(site: Site) -> None:
        weights, card = _blob(site, "pytorch_lora_weights.safetensors"), _blob(site, "adapter.json")
        weights.write_bytes(card.read_bytes())

    _promoted(folder, adapter, change)


def _link(folder: Path, adapter: Path) -> None:
    def change(site: Site) -> None:
        weights = _blob(site, "pytorch_lora_weights.safetensors")
        weights.rename(folder / "elsewhere")
        weights.symlink_to(folder / "elsewhere")

    _promoted(folder, adapter, change)


def _row(folder: Path, adapter: Path) -> None:
    def change(site: Site) -> None:
        with site.registry().engine.begin() as connection:
            connection.execute(text("DROP TRIGGER keep_event_update"))
            connection.execute(
                text("UPDATE event SET envelope = replace(envelope, 'payload', 'Payload') WHERE sequence = 1")
            )

    _promoted(folder, adapter, change)


def _statement(folder: Path, adapter: Path) -> None:
    """One letter of what was signed, in an envelope that is otherwise as it was."""
    site = make_site(folder, adapter)
    registry = site.registry()
    event = add(registry, site.key("sam"), NAME, adapter)
    with registry.view() as state, reading(registry.engine) as connection:
        envelope, key = envelope_of(connection, event), state.identities[event.key].public
    registry.engine.dispose()
    opened(envelope, key, "statement")
    position = envelope.index(b'"payload":"') + 40
    other = b"A" if envelope[position : position + 1] != b"A" else b"B"
    opened(envelope[:position] + other + envelope[position + 1 :], key, "statement")


def _brought(folder: Path, adapter: Path, plant: Callable[[tarfile.TarFile], None]) -> None:
    """Plant something in a tar on its way, and import that where its author is known."""
    site = make_site(folder / "site", adapter)
    registry = site.registry()
    add(registry, site.key("sam"), NAME, adapter)
    tar = folder / "release.tar"
    export(registry, f"{NAME}@1", tar)
    with tarfile.open(tar, "a") as file:
        plant(file)
    try:
        bring_in(registry, site.key("sam"), tar, "brought")
    finally:
        assert verify(registry).releases == 1
        registry.engine.dispose()


def _member(name: str, content: bytes = b"x") -> Callable[[tarfile.TarFile], None]:
    def plant(file: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        file.addfile(entry, io.BytesIO(content))

    return plant


def _outside(folder: Path, adapter: Path) -> None:
    _brought(folder, adapter, _member("blobs/sha256/../../../escaped"))


def _link_in_tar(folder: Path, adapter: Path) -> None:
    def plant(file: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo("blobs/sha256/" + digest_bytes(b"x"))
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(entry)

    _brought(folder, adapter, plant)


def _bomb(folder: Path, adapter: Path) -> None:
    def plant(file: tarfile.TarFile) -> None:
        for number in range(300):
            content = canonical(number)
            _member("blobs/sha256/" + digest_bytes(content), content)(file)

    _brought(folder, adapter, plant)


def _case(folder: Path, adapter: Path) -> None:
    site = make_site(folder, adapter)
    source = site.another("twice")
    (source / "ADAPTER.json").write_bytes((source / "adapter.json").read_bytes())
    add(site.registry(), site.key("sam"), NAME, source)


ATTACKS: dict[str, tuple[Attack, str]] = {
    "weights": (_weights, "the bytes of pytorch_lora_weights.safetensors are others"),
    "card": (_card, "the bytes of adapter.json are others"),
    "manifest": (_manifest, "a blob's bytes are not those of its digest"),
    "statement": (_statement, "the signature does not hold"),
    "database row": (_row, "its bytes are not those of its hash"),
    "blob swapped": (_swapped, "the bytes of pytorch_lora_weights.safetensors are others"),
    "link planted in the store": (_link, "is a link"),
    "link planted in a tar": (_link_in_tar, "is a link"),
    "path with ..": (_outside, "is no name that such a tar has"),
    "case-colliding names": (_case, "two names differ in capital letters only"),
    "archive bomb": (_bomb, "it holds more than a release may"),
}
