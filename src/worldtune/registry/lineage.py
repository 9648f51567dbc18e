"""Lineage in both directions: what a release was made from, and what came from it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.errors import RegistryError
from worldtune.files import digest_file, digest_json
from worldtune.registry.facts import Derived, Released, as_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.state import State, place
from worldtune.registry.registry import Registry
from worldtune.registry.releases import ancestors, find, revocation, same_bytes
from worldtune.registry.stated import card_of, check_lineage

KINDS = ("episodes", "dataset", "policy")


@dataclass(frozen=True)
class Node:
    """Something in the graph: its kind, what it is called, its digest, and what is said of it."""

    kind: str
    name: str
    digest: str | None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.digest or f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Graph:
    """Nodes by key, and edges from what was there first to what came of it."""

    centre: str
    nodes: dict[str, Node]
    edges: tuple[tuple[str, str], ...]

    def after(self, key: str) -> Iterator[str]:
        """Everything that came from a node, near things first, each once."""
        seen, ring = {key}, [key]
        while ring:
            ring = [new for old, new in self.edges if old in ring and new not in seen]
            ring = list(dict.fromkeys(ring))
            seen.update(ring)
            yield from ring


def lineage(registry: Registry, text: str) -> Graph:
    """The graph around a release, or around what was made with one: a path, or its digest.

    Raises RegistryError when there is none.
    """
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    with registry.view() as state:
        if "@" in text:
            release = find(state, text).release.fact
            centre = release.digest
            _add_release(registry, state, release, nodes, edges)
            for one in _descendants(state, release):
                nodes.setdefault(one.digest, _release_node(state, one))
                assert one.parent is not None
                edges.append((one.parent, one.digest))
        else:
            centre = _add_sources(registry, state, text, nodes, edges)
        for made in _made_from(state, set(nodes) if "@" in text else {centre}):
            node = Node(made.what, made.name, made.digest)
            nodes.setdefault(node.key, node)
            edges += [(source, node.key) for source in made.sources if source in nodes]
    return Graph(centre, nodes, tuple(dict.fromkeys(edges)))


def _add_release(
    registry: Registry, state: State, release: Released, nodes: dict[str, Node], edges: list[tuple[str, str]]
) -> None:
    """A release, those that it came from, and what each was made from."""
    chain = [release, *ancestors(state, release)]
    for child in chain:
        nodes.setdefault(child.digest, _release_node(state, child))
        for node in _materials(registry, child):
            nodes.setdefault(node.key, node)
            edges.append((node.key, child.digest))
    twins = [twin.fact for child in chain for twin in same_bytes(state, child.digest)]
    edges += [(twin.parent, twin.digest) for twin in twins if twin.parent is not None and twin.parent in nodes]


def _add_sources(
    registry: Registry, state: State, text: str, nodes: dict[str, Node], edges: list[tuple[str, str]]
) -> str:
    """Something that was made with releases, and all that it came from; its digest."""
    centre = content_of(Path(text)) if Path(text).exists() else text
    if centre not in state.made:
        mend = "Name a release as NAME@NUMBER, a folder that `registry derive` was told of, or its digest."
        raise RegistryError(f"nothing is known of {text!r}", where="lineage", mend=mend)
    ring = [centre]
    while ring:
        one = state.derived[place(state.made[ring.pop()])].fact
        nodes[one.digest] = Node(one.what, one.name, one.digest)
        for source in one.sources:
            edges.append((source, one.digest))
            if source in state.made and source not in nodes:
                ring.append(source)
            elif source not in state.made:
                for event in same_bytes(state, source)[-1:]:
                    _add_release(registry, state, event.fact, nodes, edges)
    return centre


def derive(
    registry: Registry, signer: CryptoSigner, what: str, name: str, digest: str, sources: tuple[str, ...]
) -> Event[Derived]:
    """Say that something was made with releases (references), or from what was said to be (digests).

    Raises RegistryError for a kind or a source that is not known.
    """
    if what not in KINDS:
        raise RegistryError(f"{what!r} is no kind of thing", where=name, mend=f"One of {', '.join(KINDS)}.")
    with registry.writer(signer) as writer:
        state = writer.state
        found = [find(state, source).digest if "@" in source else source for source in sources]
        stated = {"what": what, "name": name, "digest": digest, "sources": found}
        return writer.append(as_fact(Derived, stated))


def _descendants(state: State, release: Released) -> Iterator[Released]:
    ring, seen = [release.digest], {release.digest}
    while ring:
        parent = ring.pop(0)
        for name in state.children.get(parent) or ():
            event = state.releases[name]
            if event.fact.digest not in seen:
                yield event.fact
                ring.append(event.fact.digest)
                seen.add(event.fact.digest)


def _made_from(state: State, sources: set[str]) -> Iterator[Derived]:
    """What was made from any of these, or from what was."""
    known = set(sources)
    for event in state.derived.values():  # in the log's order, in which a source stands before what came of it
        if known & set(event.fact.sources):
            known.add(event.fact.digest)
            yield event.fact


def _release_node(state: State, release: Released) -> Node:
    facts = {"author": release.author, "base": release.base_name}
    if revoked := revocation(state, release):
        facts["REVOKED"] = revoked.fact.reason
    return Node("release", release.name, release.digest, facts)


def _materials(registry: Registry, release: Released) -> Iterator[Node]:
    """What its card says that it was made from."""
    card = card_of(registry.store, release.card, release)
    check_lineage(card, release.name)
    its: dict[str, Any] = card.lineage
    base = its.get("base", {})
    told = {key: str(base[key]) for key in ("source", "revision", "licence") if base.get(key)}
    yield Node("base", release.base_name, release.base, told)
    for part, digest in its.get("datasets", {}).items():
        if digest:
            clips = its.get("clips", {}) if part == "data" else {}
            yield Node("dataset", part, str(digest), {key: f"{count} clips" for key, count in clips.items()})
    if its.get("recipe"):
        yield Node("recipe", card.name, str(its["recipe"]), {"seed": str(its.get("seed"))})
    if its.get("code"):
        told = {"diff": str(its["diff"])[:12]} if its.get("diff") else {}
        told |= {"libraries": str(its["environment"])[:12]} if its.get("environment") else {}
        yield Node("code", f"worldtune {its.get('worldtune')} {str(its['code'])[:12]}", None, told)
    if machine := its.get("machine"):
        known = {key: str(value) for key, value in machine.items() if value is not None}
        yield Node("machine", str(machine.get("gpu") or machine.get("device") or "machine"), None, known)


def content_of(path: Path) -> str:
    """The digest of a file, or of a folder: its files by name and digest. Raises RegistryError when there is none."""
    if path.is_file():
        return digest_file(path)
    if not path.is_dir():
        raise RegistryError("there is no such file or folder", where=str(path), mend="Correct the path.")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest_json({str(file.relative_to(path)): digest_file(file) for file in files})
