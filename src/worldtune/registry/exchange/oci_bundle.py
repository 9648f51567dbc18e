"""Export a release as a tar file in the OCI image layout, and unpack such a tar verified, for sites without a network.

Source: https://github.com/opencontainers/image-spec (image-layout.md). The image's config is the release's manifest;
its layers are the files, the provenance and the signed evaluations and approvals. The same release gives the same tar,
byte for byte.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import CHUNK_BYTES, atomic_file, digest_bytes, digest_file, scratch_folder
from worldtune.core.strict_io import MIB
from worldtune.errors import RegistryError, TamperError, first_line
from worldtune.registry.events.events import ReleaseAdded, ReleaseEvaluated
from worldtune.registry.log.event_log import Event, read_envelope
from worldtune.registry.log.release_status import approval_key, is_withdrawn
from worldtune.registry.log.resolve import check_not_revoked, find_release
from worldtune.registry.log.state import State
from worldtune.registry.registry import Registry
from worldtune.registry.releases.verify_release import check_release_files
from worldtune.registry.store.database import read_transaction
from worldtune.registry.store.manifest import (
    MAX_FILE_BYTES,
    MAX_FILES,
    Manifest,
    check_content,
    parse_json,
    parse_manifest,
)  # fmt: skip

MANIFEST_MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_MEDIA_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.worldtune.release.v1+json"
FILE_MEDIA_TYPE, STATEMENT_MEDIA_TYPE, PROVENANCE_MEDIA_TYPE, RESULTS_MEDIA_TYPE = (
    f"application/vnd.worldtune.{kind}.v1" for kind in ("file", "statement+json", "provenance+json", "results+json")
)
TITLE_ANNOTATION = "org.opencontainers.image.title"
LAYOUT = canonical_json({"imageLayoutVersion": "1.0.0"})
MAX_TEXT_BYTES = 16 * MIB
MAX_ENTRIES = 4 * MAX_FILES
HINT = "Ask the sender for it again."


@dataclass(frozen=True)
class Bundle:
    """The verified content of a tar; its files are in `folder`, named by their digests."""

    folder: Path
    manifest: Manifest
    provenance: bytes
    statements: tuple[bytes, ...]
    results: tuple[bytes, ...]

    def blob(self, sha256: str) -> Path:
        return self.folder / sha256


def export_release(registry: Registry, text: str, target: Path) -> str:
    """Write a release with its evidence and approvals, and return the tar's SHA-256.

    Raise TamperError, without writing anything, if any part was changed.
    """
    with registry.view() as state, read_transaction(registry.engine) as connection:
        release = find_release(state, text).release
        check_not_revoked(state, release.fact)
        events = [release, *_supporting_events(state, release.fact)]
        envelopes = [original_envelope(connection, event) for event in events]
    manifest = check_release_files(registry.store, release.fact)
    results = sorted({event.fact.results for event in events if isinstance(event.fact, ReleaseEvaluated)})
    texts: list[tuple[str, bytes]] = [
        (PROVENANCE_MEDIA_TYPE, registry.store.read(release.fact.provenance)),
        *((STATEMENT_MEDIA_TYPE, envelope) for envelope in envelopes),
        *((RESULTS_MEDIA_TYPE, registry.store.read(digest)) for digest in results),
    ]
    image = _make_image(manifest, texts, release.fact)
    with atomic_file(target) as partial, tarfile.open(partial, "w") as tar:
        for name, content in _layout_files(image):
            tar.addfile(_tar_entry(name, len(content)), io.BytesIO(content))
        written: set[str] = set()
        for content in (image, manifest.content, *(text for _, text in texts)):
            if (sha256 := digest_bytes(content)) not in written:
                tar.addfile(_tar_entry(f"blobs/sha256/{sha256}", len(content)), io.BytesIO(content))
                written.add(sha256)
        with scratch_folder() as scratch:
            for entry in manifest.files:
                if entry.sha256 in written:
                    continue
                file = scratch / entry.sha256
                registry.store.copy_to(entry, file)
                with file.open("rb") as blob:
                    tar.addfile(_tar_entry(f"blobs/sha256/{entry.sha256}", entry.size), blob)
                file.unlink()
                written.add(entry.sha256)
    return digest_file(target)


def unpack_bundle(source: Path, folder: Path) -> Bundle:
    """Unpack a tar into an empty folder, each blob named by its digest, and verify it.

    Raise RegistryError for a link, a path outside the folder, a duplicate name, more or larger files than a release may
    have, bytes that do not match their digest, or a blob that nothing names.
    """
    if not source.is_file():
        raise RegistryError("there is no such file", where=str(source), hint="Correct the path.")
    where = str(source)
    try:
        with tarfile.open(source, "r:") as tar:
            texts = _extract(tar, folder, where)
    except (tarfile.TarError, OSError, ValueError, RecursionError) as error:  # tarfile raises all of them
        raise RegistryError(f"the tar cannot be unpacked: {first_line(error)}", where=where, hint=HINT) from error
    if texts.get("oci-layout") != LAYOUT or "index.json" not in texts:
        raise RegistryError("the tar is not an OCI image layout", where=where, hint=HINT)
    index = parse_json(texts["index.json"], where)
    try:
        (image_descriptor,) = index["manifests"]
        image = parse_json(_read_text_blob(folder, image_descriptor["digest"], where), where)
        config, layers = image["config"], image["layers"]
        manifest = parse_manifest(_read_text_blob(folder, config["digest"], where), where)
        files = {
            layer["annotations"][TITLE_ANNOTATION]: layer for layer in layers if layer["mediaType"] == FILE_MEDIA_TYPE
        }
        others = {
            kind: tuple(
                _read_text_blob(folder, layer["digest"], where) for layer in layers if layer["mediaType"] == kind
            )
            for kind in (PROVENANCE_MEDIA_TYPE, STATEMENT_MEDIA_TYPE, RESULTS_MEDIA_TYPE)
        }
        named = {image_descriptor["digest"], config["digest"], *(layer["digest"] for layer in layers)}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RegistryError(f"the image is not a release: {error!r}", where=where, hint=HINT) from error
    listed = {entry.name: f"sha256:{entry.sha256}" for entry in manifest.files}
    if {name: layer["digest"] for name, layer in files.items()} != listed or len(others[PROVENANCE_MEDIA_TYPE]) != 1:
        raise TamperError("its files do not match the release's manifest", where=where, hint=HINT)
    if {f"sha256:{path.name}" for path in folder.iterdir()} != named:
        raise TamperError("its blobs do not match its image manifest", where=where, hint=HINT)
    for entry in manifest.files:
        path = folder / entry.sha256
        if path.stat().st_size != entry.size:
            raise TamperError(f"{entry.name} has another size", where=where, hint=HINT)
        check_content(path, entry.name)
    return Bundle(
        folder, manifest, others[PROVENANCE_MEDIA_TYPE][0], others[STATEMENT_MEDIA_TYPE], others[RESULTS_MEDIA_TYPE]
    )


def _extract(tar: tarfile.TarFile, folder: Path, where: str) -> dict[str, bytes]:
    """Unpack and hash the blobs; return the other files by name."""
    texts: dict[str, bytes] = {}
    seen: set[str] = set()
    remaining = MAX_FILE_BYTES[".safetensors"] + MAX_ENTRIES * MAX_TEXT_BYTES
    for count, member in enumerate(tar):
        name, blob = member.name, member.name.removeprefix("blobs/sha256/")
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            raise TamperError(f"{name!r} is a link, folder, sparse or special file", where=where, hint=HINT)
        if name not in ("oci-layout", "index.json") and (name == blob or not _is_digest(blob)):
            raise TamperError(f"{name!r} does not belong in an exported release", where=where, hint=HINT)
        if name.lower() in seen:
            raise TamperError(f"{name!r} occurs twice", where=where, hint=HINT)
        seen.add(name.lower())
        remaining -= member.size
        if count >= MAX_ENTRIES or remaining < 0 or member.size > MAX_FILE_BYTES[".safetensors"]:
            raise TamperError("the tar is larger than a release may be", where=where, hint=HINT)
        file = tar.extractfile(member)
        assert file is not None
        if name == blob:
            if member.size > MAX_TEXT_BYTES:
                raise TamperError(f"{name} is too large", where=where, hint=HINT)
            texts[name] = file.read()
            continue
        with (folder / blob).open("xb") as writing:
            while chunk := file.read(CHUNK_BYTES):
                writing.write(chunk)
        if digest_file(folder / blob) != blob:
            raise TamperError(f"the bytes of {name} do not match its digest", where=where, hint=HINT)
    return texts


def _read_text_blob(folder: Path, digest: str, where: str) -> bytes:
    path = folder / digest.removeprefix("sha256:")
    if not _is_digest(path.name) or not path.is_file():
        raise TamperError(f"the blob {digest[:19]} is missing", where=where, hint=HINT)
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise TamperError(f"the blob {digest[:19]} is too large", where=where, hint=HINT)
    return path.read_bytes()


def _is_digest(text: str) -> bool:
    return len(text) == 64 and all(char in "0123456789abcdef" for char in text)


def _supporting_events(state: State, release: ReleaseAdded) -> Iterator[Event[Any]]:
    """Yield the evaluations, and the approvals that were not withdrawn."""
    yield from state.evaluations.get(release.digest) or ()
    for key, approvals in state.approvals.items(approval_key(release, "")):
        withdrawals = state.withdrawals.get(key) or ()
        yield from (event for event in approvals if not is_withdrawn(event, withdrawals))


def original_envelope(connection: Connection, event: Event[Any]) -> bytes:
    """Return the envelope of the original signer: the imported one if the event was imported."""
    imported_statement = event.fact.imported_statement
    return imported_statement.encode() if imported_statement is not None else read_envelope(connection, event)


def _make_image(manifest: Manifest, texts: list[tuple[str, bytes]], release: ReleaseAdded) -> bytes:
    def descriptor(kind: str, sha256: str, size: int, name: str | None = None) -> dict[str, Any]:
        fields: dict[str, Any] = {"mediaType": kind, "digest": f"sha256:{sha256}", "size": size}
        return fields | ({"annotations": {TITLE_ANNOTATION: name}} if name else {})

    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_MEDIA_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": descriptor(ARTIFACT_TYPE, manifest.digest, len(manifest.content)),
            "layers": [
                *(descriptor(FILE_MEDIA_TYPE, entry.sha256, entry.size, entry.name) for entry in manifest.files),
                *(descriptor(kind, digest_bytes(text), len(text)) for kind, text in texts),
            ],
            "annotations": {"org.opencontainers.image.ref.name": release.name},
        }
    )


def _layout_files(image: bytes) -> Iterator[tuple[str, bytes]]:
    yield "oci-layout", LAYOUT
    image_descriptor = {
        "mediaType": MANIFEST_MEDIA_TYPE,
        "digest": f"sha256:{digest_bytes(image)}",
        "size": len(image),
        "artifactType": ARTIFACT_TYPE,
    }
    yield (
        "index.json",
        canonical_json({"schemaVersion": 2, "mediaType": INDEX_MEDIA_TYPE, "manifests": [image_descriptor]}),
    )


def _tar_entry(name: str, size: int) -> tarfile.TarInfo:
    """Return a tar entry without this machine's times, owners or modes."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o644, 0
    return entry
