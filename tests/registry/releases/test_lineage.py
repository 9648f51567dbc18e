"""Lineage backward to sources and forward to derived data; as text, Mermaid and a picture."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.events.events import ReleaseAdded
from worldtune.registry.governance.approval import revoke_release
from worldtune.registry.releases.add import ReleaseMetadata, add_release
from worldtune.registry.releases.lineage import LineageGraph, build_lineage, digest_content, record_derivation
from worldtune.registry.releases.lineage_graph import lines, render_markdown, render_mermaid, render_svg

from ..conftest import NAME, Team

CARD = {
    "base": {"source": "nvidia/Cosmos-Predict2.5-2B", "revision": "865baf", "license": "NVIDIA Open Model License"},
    "datasets": {"data": "1" * 64, "retention": None},
    "clips": {"train": 24, "held_out": 6},
    "recipe": "2" * 64,
    "seed": 7,
    "code": "c0ffee0123456789+",
    "diff": "3" * 64,
    "environment": "4" * 64,
    "worldtune": "0.1",
    "machine": {"device": "cuda", "gpu": "NVIDIA H100", "processes": 1},
}


@pytest.fixture
def family(team: Team) -> tuple[ReleaseAdded, ReleaseAdded, ReleaseAdded]:
    """A parent, its child, and a grandchild."""
    made: list[ReleaseAdded] = []
    for _ in range(3):
        metadata = ReleaseMetadata(parent=made[-1].name if made else None)
        made.append(add_release(team.registry, team["sam"], NAME, team.another(lineage=CARD), metadata).fact)
    return made[0], made[1], made[2]


def names(graph: LineageGraph, keys: list[str]) -> list[str]:
    return [graph.nodes[key].name for key in keys]


def test_lineage_lists_everything_a_release_was_made_from(team: Team, family: tuple[ReleaseAdded, ...]) -> None:
    graph = build_lineage(team.registry, family[0].name)
    kinds = {node.kind: node for node in graph.nodes.values()}
    assert kinds["base"].digest == family[0].base
    assert kinds["base"].facts == {key: str(value) for key, value in CARD["base"].items()}  # type: ignore[attr-defined]
    assert (kinds["dataset"].digest, kinds["dataset"].facts) == ("1" * 64, {"train": "24 clips", "held_out": "6 clips"})
    assert (kinds["recipe"].digest, kinds["recipe"].facts) == ("2" * 64, {"seed": "7"})
    assert kinds["code"].facts == {"diff": "3" * 12, "libraries": "4" * 12}
    assert kinds["machine"].name == "NVIDIA H100"


def test_lineage_follows_all_descendants(team: Team, family: tuple[ReleaseAdded, ...]) -> None:
    parent, child, grandchild = family
    sam = team["sam"]
    episodes = record_derivation(team.registry, sam, "episodes", "dreams", "a" * 64, (child.name,)).fact
    dataset = record_derivation(team.registry, sam, "dataset", "pick", "b" * 64, (episodes.digest,)).fact
    record_derivation(team.registry, sam, "policy", "act", "c" * 64, (dataset.digest,))
    record_derivation(team.registry, sam, "policy", "elsewhere", "d" * 64, (grandchild.name,))
    graph = build_lineage(team.registry, parent.name)
    found = names(graph, list(graph.after(parent.digest)))
    assert found.index(child.name) < found.index(grandchild.name) < found.index("elsewhere")
    assert sorted(found) == sorted([child.name, grandchild.name, "dreams", "pick", "act", "elsewhere"])
    assert found.index("dreams") < found.index("pick") < found.index("act")
    graph = build_lineage(team.registry, grandchild.name)
    assert names(graph, list(graph.after(grandchild.digest))) == ["elsewhere"]
    assert {child.digest, parent.digest} <= set(graph.nodes)


def test_derived_data_leads_back_to_the_release(team: Team, family: tuple[ReleaseAdded, ...]) -> None:
    child = family[1]
    episodes = record_derivation(team.registry, team["sam"], "episodes", "dreams", "a" * 64, (child.name,)).fact
    (team.folder / "pick").mkdir()
    (team.folder / "pick" / "a.mp4").write_text("a")
    digest = digest_content(team.folder / "pick")
    record_derivation(team.registry, team["sam"], "dataset", "pick", digest, (episodes.digest,))
    record_derivation(team.registry, team["sam"], "policy", "act", "c" * 64, (digest,))
    record_derivation(team.registry, team["sam"], "policy", "elsewhere", "d" * 64, (child.name,))
    for text in (digest, str(team.folder / "pick")):
        graph = build_lineage(team.registry, text)
        assert graph.center == digest
        assert {family[0].digest, child.digest, episodes.digest, child.base, "c" * 64} <= set(graph.nodes)
        assert "d" * 64 not in graph.nodes
        assert [graph.nodes[key].name for key in graph.after(digest)] == ["act"]
    with pytest.raises(RegistryError, match="'nowhere' is not in the registry"):
        build_lineage(team.registry, "nowhere")


def test_unknown_source_is_rejected(team: Team, family: tuple[ReleaseAdded, ...]) -> None:
    with pytest.raises(RegistryError, match="is neither a release nor the digest"):
        record_derivation(team.registry, team["sam"], "dataset", "x", "a" * 64, ("0" * 64,))
    with pytest.raises(RegistryError, match="has no number 9"):
        record_derivation(team.registry, team["sam"], "dataset", "x", "a" * 64, (f"{NAME}@9",))
    with pytest.raises(RegistryError, match="'film' is not a known kind"):
        record_derivation(team.registry, team["sam"], "film", "x", "a" * 64, (f"{NAME}@1",))


def test_revoked_releases_are_marked_in_text_and_drawing(team: Team, family: tuple[ReleaseAdded, ...]) -> None:
    record_derivation(team.registry, team["sam"], "dataset", 'evil"]<script>', "a" * 64, (family[0].name,))
    revoke_release(team.registry, team["bob"], family[1].name, "bad")
    graph = build_lineage(team.registry, family[0].name)
    texts = list(lines(graph))
    assert texts[0].startswith(f"{NAME}@1  {family[0].digest}")
    assert any("REVOKED bad" in line for line in texts[texts.index("made with it") :])
    picture = ElementTree.fromstring(render_svg(graph))
    titles = [node.text for node in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == len(graph.nodes)
    assert not list(picture.iter("{http://www.w3.org/2000/svg}script"))
    chart = render_mermaid(graph)
    assert "<script>" not in chart
    assert chart.count("-->") == len(graph.edges)
    assert render_markdown(graph).startswith("```mermaid\nflowchart LR\n")


def test_svg_boxes_do_not_overlap(team: Team, family: tuple[ReleaseAdded, ...]) -> None:
    picture = ElementTree.fromstring(render_svg(build_lineage(team.registry, family[1].name)))
    boxes = [
        tuple(float(each.get(key, 0)) for key in ("x", "y", "width", "height"))
        for each in picture.iter("{http://www.w3.org/2000/svg}rect")
    ][1:]
    for number, (x, y, width, height) in enumerate(boxes):
        for a, b, *_ in boxes[number + 1 :]:
            assert abs(a - x) >= width or abs(b - y) >= height
    assert max(x + width for x, _, width, _ in boxes) <= float(picture.get("width", 0))


def test_folder_digest_covers_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.txt").write_text("1")
    before = digest_content(tmp_path / "a")
    (tmp_path / "a" / "b" / "c.txt").write_text("2")
    assert digest_content(tmp_path / "a") != before
    assert len(digest_content(tmp_path / "a" / "b" / "c.txt")) == 64
    with pytest.raises(RegistryError, match="there is no such file or folder"):
        digest_content(tmp_path / "none")
