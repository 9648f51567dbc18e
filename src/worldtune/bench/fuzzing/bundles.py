"""Releases of a registry on their way to another site."""

import shutil
import tarfile
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from worldtune.bench.fuzzing.reader import Reader
from worldtune.bench.fuzzing.tars import read_members, write_members
from worldtune.bench.fuzzing.text import changed_json
from worldtune.bench.registry_site import NAME, make_adapter, make_site, own_folders
from worldtune.files import digest_bytes
from worldtune.registry.add import add
from worldtune.registry.bring_in import bring_in
from worldtune.registry.bundle import export
from worldtune.registry.enrolment import enrol
from worldtune.registry.keys import load_key, public_path
from worldtune.registry.registry import open_registry


def _make_bundle(folder: Path) -> None:
    """A release of one site, and another site where its author is enrolled."""
    adapter = make_adapter(folder / "adapter")
    sender, here = make_site(folder / "sender", adapter), make_site(folder / "here", adapter)
    there, registry = sender.registry(), here.registry()
    add(there, sender.key("sam"), NAME, sender.another("sent"))
    export(there, f"{NAME}@1", folder / "sent.tar")
    enrol(registry, here.key("ann"), "sam", public_path(sender.folder / "keys" / "sam.pem"), ("submitter",), None)
    for one in (there, registry):
        one.engine.dispose()
    for path in (adapter, sender.folder):
        shutil.rmtree(path)


def _read_bundle(folder: Path) -> dict[str, Any]:
    """Import it, into a copy of the other site."""
    with tempfile.TemporaryDirectory() as place, own_folders(Path(place)):  # no copy is the same registry cut off
        here = Path(shutil.copytree(folder / "here", Path(place) / "here"))
        registry = open_registry(here)
        try:
            found = bring_in(registry, load_key(here / "keys" / "sam.pem"), folder / "sent.tar")
        finally:
            registry.engine.dispose()
        fact = found.release.fact
        stated = {
            key: getattr(fact, key) for key in ("digest", "weights", "card", "base", "provenance", "size", "statement")
        }
        return stated | {"counted": len(found.counted)}


def _rehash(folder: Path, draw: Random) -> str:
    """Change a blob, and every digest that names it, as somebody would who has no key."""
    path = folder / "sent.tar"
    members = {entry.name: data for entry, data in read_members(path)}
    texts = sorted(name for name, data in members.items() if name.startswith("blobs/") and data[:1] == b"{")
    name = draw.choice(texts)
    how, text = changed_json(members[name].decode(), draw)
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
