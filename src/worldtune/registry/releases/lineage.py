"""Lineage in both directions: what a release was made from, and what was made with it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from worldtune.core.files import LOCK_FILE, digest_file, digest_json
from worldtune.errors import RegistryError
from worldtune.registry.events.events import ArtifactDerived, ReleaseAdded, make_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.resolve import ancestors, find_release, find_revocation, releases_with_digest
from worldtune.registry.log.state import State, sequence_key
from worldtune.registry.registry import Registry
from worldtune.registry.releases.verify_release import check_lineage, load_card

ARTIFACT_KINDS = ("episodes", "dataset", "policy")


@dataclass(frozen=True)
class LineageNode:
    """A node of the graph: its kind, name and digest, and facts about it."""

    kind: str
    name: str
    digest: str | None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.digest or f"{self.kind} {self.name}"


@dataclass(frozen=True)
class LineageGraph:
    """Nodes by key, and edges from a source to what was made with it."""

    center: str
    nodes: dict[str, LineageNode]
    edges: tuple[tuple[str, str], ...]

    def after(self, key: str) -> Iterator[str]:
        """Yield every descendant of a node once, the nearest first."""
        seen, queue = {key}, [key]
        while queue:
            queue = [new for old, new in self.edges if old in queue and new not in seen]
            queue = list(dict.fromkeys(queue))
            seen.update(queue)
            yield from queue


def build_lineage(registry: Registry, text: str) -> LineageGraph:
    """Return the graph around a release, or around data made with one (a path or its digest).

    Raise RegistryError if it is not in the registry.
    """
    nodes: dict[str, LineageNode] = {}
    edges: list[tuple[str, str]] = []
    with registry.view() as state:
        if "@" in text:
            release = find_release(state, text).release.fact
            center = release.digest
            _add_release(registry, state, release, nodes, edges)
            for item in _descendants(state, release):
                nodes.setdefault(item.digest, _release_node(state, item))
                assert item.parent is not None
                edges.append((item.parent, item.digest))
        else:
            center = _add_sources(registry, state, text, nodes, edges)
        for artifact in _find_derived(state, set(nodes) if "@" in text else {center}):
            node = LineageNode(artifact.artifact, artifact.name, artifact.digest)
            nodes.setdefault(node.key, node)
            edges += [(source, node.key) for source in artifact.sources if source in nodes]
    return LineageGraph(center, nodes, tuple(dict.fromkeys(edges)))


def _add_release(
    registry: Registry, state: State, release: ReleaseAdded, nodes: dict[str, LineageNode], edges: list[tuple[str, str]]
) -> None:
    """Add a release, its ancestors, and what each was made from."""
    chain = [release, *ancestors(state, release)]
    for child in chain:
        nodes.setdefault(child.digest, _release_node(state, child))
        for node in _materials(registry, child):
            nodes.setdefault(node.key, node)
            edges.append((node.key, child.digest))
    duplicates = [duplicate.fact for child in chain for duplicate in releases_with_digest(state, child.digest)]
    edges += [
        (duplicate.parent, duplicate.digest)
        for duplicate in duplicates
        if duplicate.parent is not None and duplicate.parent in nodes
    ]


def _add_sources(
    registry: Registry, state: State, text: str, nodes: dict[str, LineageNode], edges: list[tuple[str, str]]
) -> str:
    """Add data made with releases and all its sources; return its digest."""
    center = digest_content(Path(text)) if Path(text).exists() else text
    if center not in state.derived_sequences:
        hint = "Give NAME@NUMBER, or data recorded by `registry derive`: its path or its digest."
        raise RegistryError(f"{text!r} is not in the registry", where="lineage", hint=hint)
    queue = [center]
    while queue:
        item = state.derived[sequence_key(state.derived_sequences[queue.pop()])].fact
        nodes[item.digest] = LineageNode(item.artifact, item.name, item.digest)
        for source in item.sources:
            edges.append((source, item.digest))
            if source in state.derived_sequences and source not in nodes:
                queue.append(source)
            elif source not in state.derived_sequences:
                for event in releases_with_digest(state, source)[-1:]:
                    _add_release(registry, state, event.fact, nodes, edges)
    return center


def record_derivation(
    registry: Registry, signer: CryptoSigner, artifact: str, name: str, digest: str, sources: tuple[str, ...]
) -> Event[ArtifactDerived]:
    """Record that data was made with releases (references) or from recorded data (digests).

    Raise RegistryError for an unknown kind or source.
    """
    if artifact not in ARTIFACT_KINDS:
        raise RegistryError(
            f"{artifact!r} is not a known kind", where=name, hint=f"Use one of {', '.join(ARTIFACT_KINDS)}."
        )
    with registry.writer(signer) as writer:
        state = writer.state
        found = [find_release(state, source).digest if "@" in source else source for source in sources]
        stated = {"artifact": artifact, "name": name, "digest": digest, "sources": found}
        return writer.append(make_fact(ArtifactDerived, stated))


def _descendants(state: State, release: ReleaseAdded) -> Iterator[ReleaseAdded]:
    queue, seen = [release.digest], {release.digest}
    while queue:
        parent = queue.pop(0)
        for name in state.children.get(parent) or ():
            event = state.releases[name]
            if event.fact.digest not in seen:
                yield event.fact
                queue.append(event.fact.digest)
                seen.add(event.fact.digest)


def _find_derived(state: State, sources: set[str]) -> Iterator[ArtifactDerived]:
    """Yield the data made from any of these sources, directly or indirectly."""
    known = set(sources)
    for event in state.derived.values():  # in the log's order, where sources precede what was made from them
        if known & set(event.fact.sources):
            known.add(event.fact.digest)
            yield event.fact


def _release_node(state: State, release: ReleaseAdded) -> LineageNode:
    facts = {"author": release.author, "base": release.base_name}
    if revoked := find_revocation(state, release):
        facts["REVOKED"] = revoked.fact.reason
    return LineageNode("release", release.name, release.digest, facts)


def _materials(registry: Registry, release: ReleaseAdded) -> Iterator[LineageNode]:
    """Yield what the release's card says it was made from."""
    card = load_card(registry.store, release.card, release)
    check_lineage(card, release.name)
    record: dict[str, Any] = card.lineage
    base = record.get("base", {})
    facts = {key: str(base[key]) for key in ("source", "revision", "license") if base.get(key)}
    yield LineageNode("base", release.base_name, release.base, facts)
    for part, digest in record.get("datasets", {}).items():
        if digest:
            clips = record.get("clips", {}) if part == "data" else {}
            yield LineageNode("dataset", part, str(digest), {key: f"{count} clips" for key, count in clips.items()})
    if record.get("recipe"):
        yield LineageNode("recipe", card.name, str(record["recipe"]), {"seed": str(record.get("seed"))})
    if record.get("code"):
        facts = {"diff": str(record["diff"])[:12]} if record.get("diff") else {}
        facts |= {"libraries": str(record["environment"])[:12]} if record.get("environment") else {}
        yield LineageNode("code", f"worldtune {record.get('worldtune')} {str(record['code'])[:12]}", None, facts)
    if machine := record.get("machine"):
        known = {key: str(value) for key, value in machine.items() if value is not None}
        yield LineageNode("machine", str(machine.get("gpu") or machine.get("device") or "machine"), None, known)


def digest_content(path: Path) -> str:
    """Return the digest of a file, or of a folder's file names and digests, without its lock.

    Raise RegistryError if it is missing.
    """
    if path.is_file():
        return digest_file(path)
    if not path.is_dir():
        raise RegistryError("there is no such file or folder", where=str(path), hint="Correct the path.")
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != LOCK_FILE)
    return digest_json({str(file.relative_to(path)): digest_file(file) for file in files})
