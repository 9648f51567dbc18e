"""Parts of a chart as SVG text. Colors are CSS classes, so that a page can style them for light and dark mode."""

from collections.abc import Sequence

from worldtune.core.safe_text import xml_text


def svg_document(parts: Sequence[str], title: str, width: int, height: int) -> str:
    """Return a chart of `parts` with its size in pixels and a title for screen readers."""
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{xml_text(title)}">{"".join(parts)}</svg>'
    )


def svg_text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    """Return a text at a position; `anchor` is the part of the text there: start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">{xml_text(text)}</text>'
