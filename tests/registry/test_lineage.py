"""Backwards to what a release was made from, forwards to what came of it; as text, Mermaid and a picture."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from worldtune.errors import RegistryError
from worldtune.registry.add import About, add
from worldtune.registry.approval import revoke
from worldtune.registry.drawing import lines, markdown, mermaid, svg
from worldtune.registry.facts import Released
from worldtune.registry.lineage import Graph, content_of, derive, lineage

from .conftest import NAME, Team

CARD = {
    "base": {"source": "nvidia/Cosmos-Predict2.5-2B", "revision": "865baf", "licence": "NVIDIA Open Model License"},
    "datasets": {"data": "1" * 64, "forgetting": None},
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
def family(team: Team) -> tuple[Released, Released, Released]:
    """A parent, its child, and a grandchild."""
    made: list[Released] = []
    for _ in range(3):
        about = About(parent=made[-1].name if made else None)
        made.append(add(team.registry, team["sam"], NAME, team.another(lineage=CARD), about).fact)
    return made[0], made[1], made[2]


def names(graph: Graph, keys: list[str]) -> list[str]:
    return [graph.nodes[key].name for key in keys]


def test_everything_that_a_release_was_made_from_is_there(team: Team, family: tuple[Released, ...]) -> None:
    graph = lineage(team.registry, family[0].name)
    kinds = {node.kind: node for node in graph.nodes.values()}
    assert kinds["base"].digest == family[0].base
    assert kinds["base"].facts == {key: str(value) for key, value in CARD["base"].items()}  # type: ignore[attr-defined]
    assert (kinds["dataset"].digest, kinds["dataset"].facts) == ("1" * 64, {"train": "24 clips", "held_out": "6 clips"})
    assert (kinds["recipe"].digest, kinds["recipe"].facts) == ("2" * 64, {"seed": "7"})
    assert kinds["code"].facts == {"diff": "3" * 12, "libraries": "4" * 12}
    assert kinds["machine"].name == "NVIDIA H100"


def test_what_came_of_it_is_followed_to_its_end(team: Team, family: tuple[Released, ...]) -> None:
    parent, child, grandchild = family
    sam = team["sam"]
    episodes = derive(team.registry, sam, "episodes", "dreams", "a" * 64, (child.name,)).fact
    dataset = derive(team.registry, sam, "dataset", "pick", "b" * 64, (episodes.digest,)).fact
    derive(team.registry, sam, "policy", "act", "c" * 64, (dataset.digest,))
    derive(team.registry, sam, "policy", "elsewhere", "d" * 64, (grandchild.name,))
    graph = lineage(team.registry, parent.name)
    found = names(graph, list(graph.after(parent.digest)))
    assert found.index(child.name) < found.index(grandchild.name) < found.index("elsewhere")
    assert sorted(found) == sorted([child.name, grandchild.name, "dreams", "pick", "act", "elsewhere"])
    assert found.index("dreams") < found.index("pick") < found.index("act")
    graph = lineage(team.registry, grandchild.name)
    assert names(graph, list(graph.after(grandchild.digest))) == ["elsewhere"]
    assert {child.digest, parent.digest} <= set(graph.nodes)


def test_what_was_made_leads_back_to_the_release_and_its_base(team: Team, family: tuple[Released, ...]) -> None:
    child = family[1]
    episodes = derive(team.registry, team["sam"], "episodes", "dreams", "a" * 64, (child.name,)).fact
    (team.folder / "pick").mkdir()
    (team.folder / "pick" / "a.mp4").write_text("a")
    digest = content_of(team.folder / "pick")
    derive(team.registry, team["sam"], "dataset", "pick", digest, (episodes.digest,))
    derive(team.registry, team["sam"], "policy", "act", "c" * 64, (digest,))
    derive(team.registry, team["sam"], "policy", "elsewhere", "d" * 64, (child.name,))
    for text in (digest, str(team.folder / "pick")):
        graph = lineage(team.registry, text)
        assert graph.centre == digest
        assert {family[0].digest, child.digest, episodes.digest, child.base, "c" * 64} <= set(graph.nodes)
        assert "d" * 64 not in graph.nodes
        assert [graph.nodes[key].name for key in graph.after(digest)] == ["act"]
    with pytest.raises(RegistryError, match="nothing is known of 'nowhere'"):
        lineage(team.registry, "nowhere")


def test_a_source_that_is_not_known_is_refused(team: Team, family: tuple[Released, ...]) -> None:
    with pytest.raises(RegistryError, match="is no release, and no digest"):
        derive(team.registry, team["sam"], "dataset", "x", "a" * 64, ("0" * 64,))
    with pytest.raises(RegistryError, match="has no number 9"):
        derive(team.registry, team["sam"], "dataset", "x", "a" * 64, (f"{NAME}@9",))
    with pytest.raises(RegistryError, match="'film' is no kind of thing"):
        derive(team.registry, team["sam"], "film", "x", "a" * 64, (f"{NAME}@1",))


def test_it_is_told_and_drawn_with_what_is_revoked(team: Team, family: tuple[Released, ...]) -> None:
    derive(team.registry, team["sam"], "dataset", 'evil"]<script>', "a" * 64, (family[0].name,))
    revoke(team.registry, team["bob"], family[1].name, "bad")
    graph = lineage(team.registry, family[0].name)
    told = list(lines(graph))
    assert told[0].startswith(f"{NAME}@1  {family[0].digest}")
    assert any("REVOKED bad" in line for line in told[told.index("came of it") :])
    picture = ElementTree.fromstring(svg(graph))
    titles = [node.text for node in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == len(graph.nodes)
    assert not list(picture.iter("{http://www.w3.org/2000/svg}script"))
    chart = mermaid(graph)
    assert "<script>" not in chart
    assert chart.count("-->") == len(graph.edges)
    assert markdown(graph).startswith("```mermaid\nflowchart LR\n")


def test_no_two_boxes_of_the_picture_lie_on_each_other(team: Team, family: tuple[Released, ...]) -> None:
    picture = ElementTree.fromstring(svg(lineage(team.registry, family[1].name)))
    boxes = [
        tuple(float(each.get(key, 0)) for key in ("x", "y", "width", "height"))
        for each in picture.iter("{http://www.w3.org/2000/svg}rect")
    ][1:]
    for number, (x, y, width, height) in enumerate(boxes):
        for a, b, *_ in boxes[number + 1 :]:
            assert abs(a - x) >= width or abs(b - y) >= height
    assert max(x + width for x, _, width, _ in boxes) <= float(picture.get("width", 0))


def test_the_digest_of_a_folder_is_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.txt").write_text("1")
    before = content_of(tmp_path / "a")
    (tmp_path / "a" / "b" / "c.txt").write_text("2")
    assert content_of(tmp_path / "a") != before
    assert len(content_of(tmp_path / "a" / "b" / "c.txt")) == 64
    with pytest.raises(RegistryError, match="there is no such file or folder"):
        content_of(tmp_path / "none")
