"""The lineage graph as text, as Mermaid (for Markdown), and as an SVG picture that needs no library to be looked at."""

from collections.abc import Iterator

from worldtune.core.safe_text import mermaid_label, one_line, xml_text
from worldtune.registry.lineage import Graph, Node

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 230, 46, 60, 16, 20
COLOURS = {"release": "#d7e8ff", "base": "#e9e3f7", "dataset": "#dff3e4", "episodes": "#fff0cf", "policy": "#ffe1d6"}


def lines(graph: Graph) -> Iterator[str]:
    """What the release was made from, then itself, then what came of it."""
    centre = graph.nodes[graph.centre]
    yield one_line(f"{centre.name}  {centre.digest}")
    yield "made from"
    for key in _before(graph):
        yield f"  {_told(graph.nodes[key])}"
    after = list(graph.after(graph.centre))
    yield f"came of it{'' if after else ': nothing that is known'}"
    for key in after:
        yield f"  {_told(graph.nodes[key])}"


def mermaid(graph: Graph) -> str:
    """A flowchart; names are hostile text, and so quoted as Mermaid's entities."""
    number = {key: f"n{place}" for place, key in enumerate(graph.nodes)}
    rows = ["flowchart LR"]
    for key, node in graph.nodes.items():
        short = f"<br/>{mermaid_label(node.digest[:12])}" if node.digest else ""
        rows.append(f'  {number[key]}["{mermaid_label(f"{node.kind}: {node.name}")}{short}"]')
    rows += [f"  {number[old]} --> {number[new]}" for old, new in graph.edges]
    rows.append(f"  style {number[graph.centre]} stroke-width:3px")
    return "\n".join(rows) + "\n"


def markdown(graph: Graph) -> str:
    """The flowchart as Markdown holds it."""
    return f"```mermaid\n{mermaid(graph)}```\n"


def svg(graph: Graph) -> str:
    """Columns from left to right, in the order of coming to be; what was there first lies lower, so that no line runs
    behind a release.
    """
    column = _columns(graph)
    rows: dict[int, list[str]] = {}
    for key in graph.nodes:
        rows.setdefault(column[key], []).append(key)
    lower = 3 * (HEIGHT + GAP_Y) // 2
    place: dict[str, tuple[int, int]] = {}
    for x, keys in rows.items():
        first = MARGIN + (0 if x else lower)
        for y, key in enumerate(keys):
            place[key] = (MARGIN + x * (WIDTH + GAP_X), first + y * (HEIGHT + GAP_Y))
    width = 2 * MARGIN + (max(rows) + 1) * (WIDTH + GAP_X) - GAP_X
    height = max(y for _, y in place.values()) + HEIGHT + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        *(_edge(place[old], place[new]) for old, new in graph.edges),
        *(_box(node, place[key], key == graph.centre) for key, node in graph.nodes.items()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _before(graph: Graph) -> list[str]:
    seen, ring = {graph.centre}, [graph.centre]
    found: list[str] = []
    while ring:
        ring = list(dict.fromkeys(old for old, new in graph.edges if new in ring and old not in seen))
        seen.update(ring)
        found += ring
    return found


def _told(node: Node) -> str:
    facts, short = _facts(node), f"  {node.digest[:12]}" if node.digest else ""
    return one_line(f"{node.kind:<9}{node.name}{short}{f'  ({facts})' if facts else ''}")


def _columns(graph: Graph) -> dict[str, int]:
    """One more than the farthest that a node came from."""
    column = dict.fromkeys(graph.nodes, 0)
    for _ in graph.nodes:
        for old, new in graph.edges:
            column[new] = max(column[new], column[old] + 1)
    return column


def _edge(start: tuple[int, int], end: tuple[int, int]) -> str:
    x1, y1, x2, y2 = start[0] + WIDTH, start[1] + HEIGHT // 2, end[0], end[1] + HEIGHT // 2
    middle = (x1 + x2) // 2
    path = f"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}"
    head = f"M{x2 - 8} {y2 - 4} L{x2} {y2} L{x2 - 8} {y2 + 4}"
    return f'<path d="{path}" fill="none" stroke="#8a94a3"/><path d="{head}" fill="none" stroke="#8a94a3"/>'


def _box(node: Node, place: tuple[int, int], centre: bool) -> str:
    x, y = place
    revoked = "REVOKED" in node.facts
    stroke, width = ("#c0262d", 3) if revoked else ("#28496f", 3) if centre else ("#8a94a3", 1)
    name = one_line(node.name)
    name = name if len(name) <= 30 else f"{name[:13]}…{name[-16:]}"
    under = " · ".join(part for part in (node.kind, (node.digest or "")[:12], "REVOKED" if revoked else "") if part)
    told = xml_text(f"{node.kind} {node.name} {node.digest or ''} {_facts(node)}".strip())
    return (
        f'<g><title>{told}</title><rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" '
        f'fill="{COLOURS.get(node.kind, "#f2f4f7")}" stroke="{stroke}" stroke-width="{width}"/>'
        f'<text x="{x + 10}" y="{y + 19}" font-weight="600">{xml_text(name)}</text>'
        f'<text x="{x + 10}" y="{y + 36}" fill="#49535f">{xml_text(under)}</text></g>'
    )


def _facts(node: Node) -> str:
    return ", ".join(f"{key} {value}" for key, value in node.facts.items())
