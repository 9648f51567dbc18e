"""The lineage graph with untrusted names, digests and facts: each node stays one node, as text."""

import re
from xml.etree import ElementTree

import pytest

from worldtune.registry.releases.lineage import LineageGraph, LineageNode
from worldtune.registry.releases.lineage_graph import lines, render_markdown, render_mermaid, render_svg

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


def graph(text: str) -> LineageGraph:
    """A release made from a dataset, with `text` in every text field of both."""
    made = LineageNode("release", f"cell7/{text}@1", text, {"by": text, text: "x"})
    data = LineageNode("dataset", text * 9, text + "y", {"note": text})
    return LineageGraph(made.key, {data.key: data, made.key: made}, ((data.key, made.key),))


@pytest.fixture(params=HOSTILE, ids=range(len(HOSTILE)))
def hostile(request: pytest.FixtureRequest) -> LineageGraph:
    return graph(request.param)


def test_mermaid_has_one_line_for_each_node(hostile: LineageGraph) -> None:
    head, *rows, style = render_mermaid(hostile).splitlines()
    assert (head, style) == ("flowchart LR", "  style n1 stroke-width:3px")
    node = re.compile(r'  n[01]\["[^"\[\]`<>&|]*(<br/>[^"\[\]`<>&|]*)?"\]')
    assert [bool(node.fullmatch(row)) for row in rows] == [True, True, False]
    assert rows[2] == "  n0 --> n1"


def test_markdown_is_one_code_block(hostile: LineageGraph) -> None:
    text = render_markdown(hostile)
    assert text.count("```") == 2
    assert text.endswith("```\n")


def test_svg_is_well_formed_and_holds_only_shapes_and_text(hostile: LineageGraph) -> None:
    picture = ElementTree.fromstring(render_svg(hostile).encode("utf-8"))
    assert {node.tag.removeprefix(SVG) for node in picture.iter()} == {"svg", "rect", "path", "g", "title", "text"}
    assert len(list(picture.iter(f"{SVG}title"))) == 2


def test_text_has_one_line_for_each_node(hostile: LineageGraph) -> None:
    text_lines = list(lines(hostile))
    assert len(text_lines) == 4
    assert all(len(line.splitlines()) == 1 and "\x1b" not in line for line in text_lines)


def test_ordinary_names_are_not_escaped() -> None:
    drawn = graph("séan-工場")
    assert any("cell7/séan-工場@1" in line for line in lines(drawn))
    assert "cell7/séan-工場@1" in render_mermaid(drawn)
    assert "cell7/séan-工場@1" in render_svg(drawn)
