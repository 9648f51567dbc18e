"""Between sites without a network: a release as a tar file in the layout of an OCI image, and in again, verified.

Source: https://github.com/opencontainers/image-spec (image-layout.md). The manifest's config is the release's own
manifest, its layers are the files, the provenance and the signed statements that speak for it. The tar is the same,
byte for byte, for the same release.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from worldtune.errors import RegistryError, TamperError, first_line
from worldtune.files import CHUNK, atomic_file, digest_bytes, digest_file, scratch_folder
from worldtune.registry.database import reading
from worldtune.registry.facts import Evaluated, Released
from worldtune.registry.log.event_log import Event, envelope_of
from worldtune.registry.log.state import State
from worldtune.registry.manifest import (
    LARGEST,
    MIB,
    MOST_FILES,
    Manifest,
    canonical,
    check_content,
    parse_json,
    parse_manifest,
)  # fmt: skip
from worldtune.registry.registry import Registry
from worldtune.registry.releases import check_not_revoked, find
from worldtune.registry.standing import approval_key, is_taken_back
from worldtune.registry.stated import check_stated

MEDIA = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TYPE = "application/vnd.worldtune.release.v1+json"
FILE, STATEMENT, PROVENANCE, RESULTS = (
    f"application/vnd.worldtune.{kind}.v1" for kind in ("file", "statement+json", "provenance+json", "results+json")
)
TITLE = "org.opencontainers.image.title"
LAYOUT = canonical({"imageLayoutVersion": "1.0.0"})
LARGEST_TEXT = 16 * MIB
MOST_ENTRIES = 4 * MOST_FILES
MEND = "Ask the sender for it again."


@dataclass(frozen=True)
class Bundle:
    """What a tar holds, verified: its files lie unpacked in `folder`, under their digests."""

    folder: Path
    manifest: Manifest
    provenance: bytes
    statements: tuple[bytes, ...]
    results: tuple[bytes, ...]

    def blob(self, sha256: str) -> Path:
        return self.folder / sha256


def export(registry: Registry, text: str, target: Path) -> str:
    """Write a release with its evidence and approvals, and return the tar's SHA-256.

    Raises TamperError when something of it is not as it was, and writes nothing.
    """
    with registry.view() as state, reading(registry.engine) as connection:
        release = find(state, text).release
        check_not_revoked(state, release.fact)
        events = [release, *_speaking_for(state, release.fact)]
        envelopes = [signed(connection, event) for event in events]
    manifest = check_stated(registry.store, release.fact)
    results = sorted({event.fact.results for event in events if isinstance(event.fact, Evaluated)})
    texts: list[tuple[str, bytes]] = [
        (PROVENANCE, registry.store.read(release.fact.provenance)),
        *((STATEMENT, envelope) for envelope in envelopes),
        *((RESULTS, registry.store.read(digest)) for digest in results),
    ]
    image = _image(manifest, texts, release.fact)
    with atomic_file(target) as partial, tarfile.open(partial, "w") as tar:
        for name, content in _head(image):
            tar.addfile(_entry(name, len(content)), io.BytesIO(content))
        written: set[str] = set()
        for content in (image, manifest.content, *(text for _, text in texts)):
            if (sha256 := digest_bytes(content)) not in written:
                tar.addfile(_entry(f"blobs/sha256/{sha256}", len(content)), io.BytesIO(content))
                written.add(sha256)
        with scratch_folder() as place:
            for entry in manifest.files:
                if entry.sha256 in written:
                    continue
                file = place / entry.sha256
                registry.store.copy_to(entry, file)
                with file.open("rb") as blob:
                    tar.addfile(_entry(f"blobs/sha256/{entry.sha256}", entry.size), blob)
                file.unlink()
                written.add(entry.sha256)
    return digest_file(target)


def unpack(source: Path, folder: Path) -> Bundle:
    """Everything of a tar in an empty folder, each blob under its digest, and nothing else.

    Raises RegistryError for what such a tar does not hold: a link, a path that leads elsewhere, a name twice, more or
    larger files than a release may have, bytes that are not those of their name, something that nothing names.
    """
    if not source.is_file():
        raise RegistryError("there is no such file", where=str(source), mend="Correct the path.")
    where = str(source)
    try:
        with tarfile.open(source, "r:") as tar:
            texts = _take(tar, folder, where)
    except (tarfile.TarError, OSError, ValueError, RecursionError) as error:  # tarfile raises all of them
        raise RegistryError(f"no tar file that can be unpacked: {first_line(error)}", where=where, mend=MEND) from error
    if texts.get("oci-layout") != LAYOUT or "index.json" not in texts:
        raise RegistryError("no OCI image layout", where=where, mend=MEND)
    index = parse_json(texts["index.json"], where)
    try:
        (one,) = index["manifests"]
        image = parse_json(_text(folder, one["digest"], where), where)
        config, layers = image["config"], image["layers"]
        manifest = parse_manifest(_text(folder, config["digest"], where), where)
        files = {layer["annotations"][TITLE]: layer for layer in layers if layer["mediaType"] == FILE}
        others = {
            kind: tuple(_text(folder, layer["digest"], where) for layer in layers if layer["mediaType"] == kind)
            for kind in (PROVENANCE, STATEMENT, RESULTS)
        }
        named = {one["digest"], config["digest"], *(layer["digest"] for layer in layers)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RegistryError(f"no release's image: {error!r}", where=where, mend=MEND) from error
    listed = {entry.name: f"sha256:{entry.sha256}" for entry in manifest.files}
    if {name: layer["digest"] for name, layer in files.items()} != listed or len(others[PROVENANCE]) != 1:
        raise TamperError("its files are not those of the release's manifest", where=where, mend=MEND)
    if {f"sha256:{path.name}" for path in folder.iterdir()} != named:
        raise TamperError("it holds what nothing names, or lacks what is named", where=where, mend=MEND)
    for entry in manifest.files:
        path = folder / entry.sha256
        if path.stat().st_size != entry.size:
            raise TamperError(f"{entry.name} has another size", where=where, mend=MEND)
        check_content(path, entry.name)
    return Bundle(folder, manifest, others[PROVENANCE][0], others[STATEMENT], others[RESULTS])


def _take(tar: tarfile.TarFile, folder: Path, where: str) -> dict[str, bytes]:
    """Unpack blobs, each hashed on the way; return what else there is by name."""
    texts: dict[str, bytes] = {}
    seen: set[str] = set()
    left = LARGEST[".safetensors"] + MOST_ENTRIES * LARGEST_TEXT
    for count, member in enumerate(tar):
        name, blob = member.name, member.name.removeprefix("blobs/sha256/")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise TamperError(f"{name!r} is a link, a folder, sparse or no plain file", where=where, mend=MEND)
        if name not in ("oci-layout", "index.json") and (name == blob or not _is_digest(blob)):
            raise TamperError(f"{name!r} is no name that such a tar has", where=where, mend=MEND)
        if name.lower() in seen:
            raise TamperError(f"{name!r} is there twice", where=where, mend=MEND)
        seen.add(name.lower())
        left -= member.size
        if count >= MOST_ENTRIES or left < 0 or member.size > LARGEST[".safetensors"]:
            raise TamperError("it holds more than a release may", where=where, mend=MEND)
        file = tar.extractfile(member)
        assert file is not None
        if name == blob:
            if member.size > LARGEST_TEXT:
                raise TamperError(f"{name} is too large", where=where, mend=MEND)
            texts[name] = file.read()
            continue
        with (folder / blob).open("xb") as writing:
            while chunk := file.read(CHUNK):
                writing.write(chunk)
        if digest_file(folder / blob) != blob:
            raise TamperError(f"the bytes of {name} are others", where=where, mend=MEND)
    return texts


def _text(folder: Path, digest: str, where: str) -> bytes:
    path = folder / digest.removeprefix("sha256:")
    if not _is_digest(path.name) or not path.is_file():
        raise TamperError(f"{digest[:19]} is named, and not there", where=where, mend=MEND)
    if path.stat().st_size > LARGEST_TEXT:
        raise TamperError(f"{digest[:19]} is too large", where=where, mend=MEND)
    return path.read_bytes()


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(each in "0123456789abcdef" for each in text)


def _speaking_for(state: State, release: Released) -> Iterator[Event[Any]]:
    """Evaluations, and approvals that were not taken back."""
    yield from state.evaluations.get(release.digest) or ()
    for key, approvals in state.approvals.items(approval_key(release, "")):
        withdrawals = state.withdrawals.get(key) or ()
        yield from (event for event in approvals if not is_taken_back(event, withdrawals))


def signed(connection: Connection, event: Event[Any]) -> bytes:
    """The envelope of who speaks: of what was brought along once, the one that came."""
    brought = event.fact.brought
    return brought.encode() if brought is not None else envelope_of(connection, event)


def _image(manifest: Manifest, texts: list[tuple[str, bytes]], release: Released) -> bytes:
    def described(kind: str, sha256: str, size: int, name: str | None = None) -> dict[str, Any]:
        told: dict[str, Any] = {"mediaType": kind, "digest": f"sha256:{sha256}", "size": size}
        return told | ({"annotations": {TITLE: name}} if name else {})

    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": MEDIA,
            "artifactType": TYPE,
            "config": described(TYPE, manifest.digest, len(manifest.content)),
            "layers": [
                *(described(FILE, entry.sha256, entry.size, entry.name) for entry in manifest.files),
                *(described(kind, digest_bytes(text), len(text)) for kind, text in texts),
            ],
            "annotations": {"org.opencontainers.image.ref.name": release.name},
        }
    )


def _head(image: bytes) -> Iterator[tuple[str, bytes]]:
    yield "oci-layout", LAYOUT
    one = {"mediaType": MEDIA, "digest": f"sha256:{digest_bytes(image)}", "size": len(image), "artifactType": TYPE}
    yield "index.json", canonical({"schemaVersion": 2, "mediaType": INDEX, "manifests": [one]})


def _entry(name: str, size: int) -> tarfile.TarInfo:
    """Without times, owners or modes of this machine."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, 0
    return entry
