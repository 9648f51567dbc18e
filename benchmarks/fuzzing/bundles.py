"""Releases of a registry on their way to another site."""

import shutil
import tarfile
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.fuzzing.reader import Reader
from benchmarks.fuzzing.tars import read_members, write_members
from benchmarks.fuzzing.text import change_json
from benchmarks.registry.site import NAME, make_adapter, make_site, own_folders
from worldtune.core.files import digest_bytes
from worldtune.registry.exchange.import_release import import_release
from worldtune.registry.exchange.oci_bundle import export_release
from worldtune.registry.governance.admin import enroll
from worldtune.registry.registry import open_registry
from worldtune.registry.releases.add import add_release
from worldtune.registry.signing.keys import load_key, public_key_path


def _make_bundle(folder: Path) -> None:
    """Make a release of one site, and another site where its author is enrolled."""
    adapter = make_adapter(folder / "adapter")
    sender, here = make_site(folder / "sender", adapter), make_site(folder / "here", adapter)
    there, registry = sender.registry(), here.registry()
    add_release(there, sender.key("sam"), NAME, sender.copy_adapter("sent"))
    export_release(there, f"{NAME}@1", folder / "sent.tar")
    enroll(registry, here.key("ann"), "sam", public_key_path(sender.folder / "keys" / "sam.pem"), ("submitter",), None)
    for site_registry in (there, registry):
        site_registry.engine.dispose()
    for path in (adapter, sender.folder):
        shutil.rmtree(path)


def _read_bundle(folder: Path) -> dict[str, Any]:
    """Import the release into a copy of the other site."""
    with (
        tempfile.TemporaryDirectory() as place,
        own_folders(Path(place)),
    ):  # a copy must not count as a truncated registry
        here = Path(shutil.copytree(folder / "here", Path(place) / "here"))
        registry = open_registry(here)
        try:
            found = import_release(registry, load_key(here / "keys" / "sam.pem"), folder / "sent.tar")
        finally:
            registry.engine.dispose()
        fact = found.release.fact
        stated = {
            key: getattr(fact, key) for key in ("digest", "weights", "card", "base", "provenance", "size", "statement")
        }
        return stated | {"counted": len(found.accepted)}


def _rehash(folder: Path, draw: Random) -> str:
    """Change a blob, and every digest that names it, as someone without a key would."""
    path = folder / "sent.tar"
    members = {entry.name: data for entry, data in read_members(path)}
    texts = sorted(name for name, data in members.items() if name.startswith("blobs/") and data[:1] == b"{")
    name = draw.choice(texts)
    how, text = change_json(members[name].decode(), draw)
    renamed = {name: text.encode("utf-8", "surrogatepass")}
    while renamed:
        old, data = renamed.popitem()
        members.pop(old, None)
        new = f"blobs/sha256/{digest_bytes(data)}" if old.startswith("blobs/") else old
        members[new] = data
        before, after = old.rpartition("/")[2].encode(), new.rpartition("/")[2].encode()
        if before != after:
            renamed |= {n: d.replace(before, after) for n, d in members.items() if before in d and len(d) < 1 << 20}
    write_members(path, [(_entry(name, len(data)), data) for name, data in members.items()])
    return f"{name[-8:]} and every digest of it: {how}"


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry


READERS = (
    Reader(
        "registry bundle",
        "the release that its author signed",
        _make_bundle,
        _read_bundle,
        files=("sent.tar",),
        rewrite=_rehash,
    ),
)
