"""The lineage graph with names, digests and facts that other people chose: each node stays one node, as text."""

import re
from xml.etree import ElementTree

import pytest

from worldtune.registry.drawing import lines, markdown, mermaid, svg
from worldtune.registry.lineage import Graph, Node

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = [
    '"]\nn9["x',
    "x\x00\x1b]0;owned\x07\x7f",
    "</text><script>alert(1)</script>",
    "a\ud800\ufffe\u202eb",
    "```\n# owned",
    "name]]> & <!-- '\" -->",
    "#quot;]#10;n9",
]


def graph(text: str) -> Graph:
    """A release made from a dataset, both of which have `text` wherever text can be."""
    made = Node("release", f"cell7/{text}@1", text, {"by": text, text: "x"})
    data = Node("dataset", text * 9, text + "y", {"note": text})
    return Graph(made.key, {data.key: data, made.key: made}, ((data.key, made.key),))


@pytest.fixture(params=HOSTILE, ids=range(len(HOSTILE)))
def hostile(request: pytest.FixtureRequest) -> Graph:
    return graph(request.param)


def test_mermaid_has_one_line_a_node(hostile: Graph) -> None:
    head, *rows, style = mermaid(hostile).splitlines()
    assert (head, style) == ("flowchart LR", "  style n1 stroke-width:3px")
    node = re.compile(r'  n[01]\["[^"\[\]`<>&|]*(<br/>[^"\[\]`<>&|]*)?"\]')
    assert [bool(node.fullmatch(row)) for row in rows] == [True, True, False]
    assert rows[2] == "  n0 --> n1"


def test_markdown_is_one_fence(hostile: Graph) -> None:
    text = markdown(hostile)
    assert text.count("```") == 2
    assert text.endswith("```\n")


def test_the_picture_is_well_formed_and_holds_shapes_and_text_only(hostile: Graph) -> None:
    picture = ElementTree.fromstring(svg(hostile).encode("utf-8"))
    assert {node.tag.removeprefix(SVG) for node in picture.iter()} == {"svg", "rect", "path", "g", "title", "text"}
    assert len(list(picture.iter(f"{SVG}title"))) == 2


def test_the_text_has_a_line_a_node(hostile: Graph) -> None:
    told = list(lines(hostile))
    assert len(told) == 4
    assert all(len(line.splitlines()) == 1 and "\x1b" not in line for line in told)


def test_ordinary_names_are_as_they_are() -> None:
    told = graph("séan-工場")
    assert any("cell7/séan-工場@1" in line for line in lines(told))
    assert "cell7/séan-工場@1" in mermaid(told)
    assert "cell7/séan-工場@1" in svg(told)
