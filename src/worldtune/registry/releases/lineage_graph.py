"""The lineage graph as text, as Mermaid (for Markdown), and as a self-contained SVG picture."""

from collections.abc import Iterator

from worldtune.core.safe_text import mermaid_label, one_line, xml_text
from worldtune.registry.releases.lineage import LineageGraph, LineageNode

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 230, 46, 60, 16, 20
COLORS = {"release": "#d7e8ff", "base": "#e9e3f7", "dataset": "#dff3e4", "episodes": "#fff0cf", "policy": "#ffe1d6"}


def lines(graph: LineageGraph) -> Iterator[str]:
    """Yield the text lines: the release, what it was made from, and what was made with it."""
    center = graph.nodes[graph.center]
    yield one_line(f"{center.name}  {center.digest}")
    yield "made from"
    for key in _ancestors(graph):
        yield f"  {_describe(graph.nodes[key])}"
    after = list(graph.after(graph.center))
    yield f"made with it{'' if after else ': nothing recorded'}"
    for key in after:
        yield f"  {_describe(graph.nodes[key])}"


def render_mermaid(graph: LineageGraph) -> str:
    """Return a Mermaid flowchart; names are untrusted text and are escaped as Mermaid entities."""
    number = {key: f"n{position}" for position, key in enumerate(graph.nodes)}
    rows = ["flowchart LR"]
    for key, node in graph.nodes.items():
        short = f"<br/>{mermaid_label(node.digest[:12])}" if node.digest else ""
        rows.append(f'  {number[key]}["{mermaid_label(f"{node.kind}: {node.name}")}{short}"]')
    rows += [f"  {number[old]} --> {number[new]}" for old, new in graph.edges]
    rows.append(f"  style {number[graph.center]} stroke-width:3px")
    return "\n".join(rows) + "\n"


def render_markdown(graph: LineageGraph) -> str:
    """Return the flowchart as a Markdown code block."""
    return f"```mermaid\n{render_mermaid(graph)}```\n"


def render_svg(graph: LineageGraph) -> str:
    """Return an SVG with columns in order of creation from left to right.

    The first column is lower than the others, so that no line runs behind a release.
    """
    column = _assign_columns(graph)
    rows: dict[int, list[str]] = {}
    for key in graph.nodes:
        rows.setdefault(column[key], []).append(key)
    lower = 3 * (HEIGHT + GAP_Y) // 2
    position: dict[str, tuple[int, int]] = {}
    for x, keys in rows.items():
        first = MARGIN + (0 if x else lower)
        for y, key in enumerate(keys):
            position[key] = (MARGIN + x * (WIDTH + GAP_X), first + y * (HEIGHT + GAP_Y))
    width = 2 * MARGIN + (max(rows) + 1) * (WIDTH + GAP_X) - GAP_X
    height = max(y for _, y in position.values()) + HEIGHT + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *(_draw_edge(position[old], position[new]) for old, new in graph.edges),
        *(_draw_node(node, position[key], key == graph.center) for key, node in graph.nodes.items()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _ancestors(graph: LineageGraph) -> list[str]:
    seen, queue = {graph.center}, [graph.center]
    found: list[str] = []
    while queue:
        queue = list(dict.fromkeys(old for old, new in graph.edges if new in queue and old not in seen))
        seen.update(queue)
        found += queue
    return found


def _describe(node: LineageNode) -> str:
    facts, short = _facts(node), f"  {node.digest[:12]}" if node.digest else ""
    return one_line(f"{node.kind:<9}{node.name}{short}{f'  ({facts})' if facts else ''}")


def _assign_columns(graph: LineageGraph) -> dict[str, int]:
    """Return each node's column: one more than the largest column among its sources."""
    column = dict.fromkeys(graph.nodes, 0)
    for _ in graph.nodes:
        for old, new in graph.edges:
            column[new] = max(column[new], column[old] + 1)
    return column


def _draw_edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    middle = (x1 + x2) // 2
    path = f"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}"
    head = f"M{x2 - 8} {y2 - 4} L{x2} {y2} L{x2 - 8} {y2 + 4}"
    return f'<path d="{path}" fill="none" stroke="#8a94a3"/><path d="{head}" fill="none" stroke="#8a94a3"/>'


def _draw_node(node: LineageNode, position: tuple[int, int], center: bool) -> str:
    x, y = position
    revoked = "REVOKED" in node.facts
    stroke, width = ("#c0262d", 3) if revoked else ("#28496f", 3) if center else ("#8a94a3", 1)
    name = one_line(node.name)
    name = name if len(name) <= 30 else f"{name[:13]}…{name[-16:]}"
    under = " · ".join(part for part in (node.kind, (node.digest or "")[:12], "REVOKED" if revoked else "") if part)
    tooltip = xml_text(f"{node.kind} {node.name} {node.digest or ''} {_facts(node)}".strip())
    return (
        f'<g><title>{tooltip}</title><rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="{COLORS.get(node.kind, "#f2f4f7")}" stroke="{stroke}" stroke-width="{width}"/>'
        f'<text x="{x + 10}" y="{y + 19}" font-weight="600">{xml_text(name)}</text>'
        f'<text x="{x + 10}" y="{y + 36}" fill="#49535f">{xml_text(under)}</text></g>'
    )


def _facts(node: LineageNode) -> str:
    return ", ".join(f"{key} {value}" for key, value in node.facts.items())
