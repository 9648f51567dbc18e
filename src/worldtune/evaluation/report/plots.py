"""Line charts and the clip-by-clip gain chart as SVG text, without a plotting library.

Colors are CSS classes (`s0`, `s1`, … and `control`), so that a page can style them for light and dark mode; an SVG file
contains `STYLE` itself.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from worldtune.core.files import atomic_file
from worldtune.core.safe_text import xml_text
from worldtune.evaluation.report.svg import svg_document, svg_text

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 420, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 96, 26, 40
LETTER = 7.5  # largest width of a label's letter, in pixels
LABEL_GAP = 14.0
LOG_RATIO = 20.0
LOSSES = {
    "held_out_loss": "Held-out loss",
    "loss": "Training loss",
    "base_domain_loss": "Loss on the base domain",
}

STYLE = """
.chart{font:12px system-ui,sans-serif;--ink:#1b1f24;--soft:#59636e;--line:#d1d9e0;
--s0:#c2560c;--s1:#2a78d6;--s2:#138a5e;--s3:#8a4fc9;--s4:#b8357d;--s5:#8a6d00;--control:#7d8590}
@media (prefers-color-scheme:dark){.chart{--ink:#e6edf3;--soft:#9aa4af;--line:#373e47;
--s0:#f08a3c;--s1:#5aa2f5;--s2:#3fc08e;--s3:#b48cf2;--s4:#ec7ab4;--s5:#d3b13c;--control:#8b949e}}
.chart text{fill:var(--soft)}.chart .title{fill:var(--ink);font-weight:600;font-size:13px}
.chart .grid{stroke:var(--line);stroke-width:1}.chart .zero{stroke:var(--soft);stroke-width:1}
.chart .line{fill:none;stroke-width:2;stroke-linejoin:round}.chart .faint{stroke-width:1;opacity:.45}
.chart .s0{stroke:var(--s0)}.chart .s1{stroke:var(--s1)}.chart .s2{stroke:var(--s2)}.chart .s3{stroke:var(--s3)}
.chart .s4{stroke:var(--s4)}.chart .s5{stroke:var(--s5)}.chart .control{stroke:var(--control);stroke-dasharray:5 4}
.chart .name{stroke:none;font-weight:600}.chart .name.s0{fill:var(--s0)}.chart .name.s1{fill:var(--s1)}
.chart .name.s2{fill:var(--s2)}.chart .name.s3{fill:var(--s3)}.chart .name.s4{fill:var(--s4)}
.chart .name.s5{fill:var(--s5)}.chart .name.control{fill:var(--control)}
.chart .won{fill:var(--s1)}.chart .lost{fill:var(--s0)}
"""


@dataclass(frozen=True)
class Series:
    """One named line: its points (x, y), its CSS class `style`, and the raw points (`faint`) behind a smoothed line."""

    name: str
    points: Points
    style: str
    faint: Points = ()


def line_chart(series: Sequence[Series], *, title: str, x_label: str) -> str:
    """Return an SVG line chart with a label at each line's end. The y axis is logarithmic if y spans more than 20×."""
    wide = _width(line.name for line in series)
    ys = [y for line in series for _, y in (*line.points, *line.faint)]
    xs = [x for line in series for x, _ in (*line.points, *line.faint)]
    log = min(ys) > 0 and max(ys) / min(ys) > LOG_RATIO
    ticks_y = _log_ticks(min(ys), max(ys)) if log else _ticks(min(ys), max(ys))
    ticks_x = _ticks(min(xs), max(xs), inside=True)
    low_y, high_y = _scaled(min(ticks_y[0], min(ys)), log), _scaled(max(ticks_y[-1], max(ys)), log)
    low_x, span_x = min(xs), (max(xs) - min(xs)) or 1.0

    def at_x(x: float) -> float:
        return LEFT + (x - low_x) / span_x * (WIDTH - LEFT - RIGHT)

    def at_y(y: float) -> float:
        return HEIGHT - BOTTOM - (_scaled(y, log) - low_y) / ((high_y - low_y) or 1.0) * (HEIGHT - TOP - BOTTOM)

    def path(points: Points) -> str:
        return "M" + "L".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)

    parts = [svg_text(LEFT, 14, title, "title")]
    for y in ticks_y:
        parts.append(f'<path class="grid" d="M{LEFT},{at_y(y):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(svg_text(LEFT - 6, at_y(y) + 4, _number(y, ticks_y), anchor="end"))
    parts += [svg_text(at_x(x), HEIGHT - BOTTOM + 16, _number(x), anchor="middle") for x in ticks_x]
    scale = " · log scale" if log else ""
    parts.append(svg_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x_label + scale, anchor="middle"))
    for line in series:
        if line.faint:
            parts.append(f'<path class="line faint {line.style}" d="{path(line.faint)}"/>')
        parts.append(f'<path class="line {line.style}" d="{path(line.points)}"/>')
    ends = _spread([at_y(line.points[-1][1]) for line in series])
    for line, end in zip(series, ends, strict=True):
        parts.append(svg_text(WIDTH - RIGHT + 6, end + 4, _shortened(line.name), f"name {line.style}"))
    return svg_document(parts, title, wide, HEIGHT)


def gain_chart(gains: Sequence[tuple[str, float]], *, title: str) -> str:
    """Return an SVG bar chart of each clip's gain in dB, in the given order, with the clip's name on hover."""
    values = [gain for _, gain in gains]
    ticks = _ticks(min(0.0, *values), max(0.0, *values))
    low, high = min(ticks[0], *values), max(ticks[-1], *values)
    wide = WIDTH - LEFT - 12

    def at_y(y: float) -> float:
        return HEIGHT - BOTTOM - (y - low) / ((high - low) or 1.0) * (HEIGHT - TOP - BOTTOM)

    parts = [svg_text(LEFT, 14, title, "title")]
    for y in ticks:
        parts.append(f'<path class="{"grid" if y else "zero"}" d="M{LEFT},{at_y(y):.1f}h{wide}"/>')
        parts.append(svg_text(LEFT - 6, at_y(y) + 4, _number(y), anchor="end"))
    step = wide / len(gains)
    for index, (name, gain) in enumerate(gains):
        top, tall = min(at_y(0), at_y(gain)), abs(at_y(gain) - at_y(0))
        x, width = LEFT + index * step, max(1.0, min(step - 2, 24))
        parts.append(
            f'<rect class="{"won" if gain > 0 else "lost"}" x="{x + (step - width) / 2:.1f}" y="{top:.1f}" '
            f'width="{width:.1f}" height="{tall:.1f}"><title>{xml_text(name)}: {gain:+.2f} dB</title></rect>'
        )
    parts.append(svg_text(LEFT + wide / 2, HEIGHT - 6, f"{len(gains)} clips, worst first · dB", anchor="middle"))
    return svg_document(parts, title, WIDTH, HEIGHT)


def loss_charts(curves: Mapping[str, Sequence[Mapping[str, Any]]], styles: Mapping[str, str]) -> list[str]:
    """Return a chart of each loss (held-out, training, base domain) over steps, with a line for each run that has it.

    `curves` maps a run's name to the rows of its metrics.jsonl. A training loss is drawn as a moving average over a
    twentieth of its points, with the raw points faint behind it.
    """
    charts = []
    for key, title in LOSSES.items():
        series = []
        for name, rows in curves.items():
            points = [(float(row["step"]), float(row[key])) for row in rows if row.get(key) is not None]
            if points:
                noisy = key == "loss"
                series.append(Series(name, _smooth(points) if noisy else points, styles[name], points if noisy else ()))
        if series:
            charts.append(line_chart(series, title=title, x_label="step"))
    return charts


def run_charts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the charts of one run: held-out and base domain loss with its EMA weights, and the training loss."""
    averages = sorted({name for row in rows for name in row.get("averages", {})})
    judged: dict[str, list[tuple[float, float]]] = {
        "held out": [],
        "base domain": [],
        **{name: [] for name in averages},
    }
    for row in rows:
        known = {"held out": row.get("held_out_loss"), "base domain": row.get("base_domain_loss")}
        for name, loss in (known | row.get("averages", {})).items():
            if loss is not None:
                judged[name].append((float(row["step"]), float(loss)))
    series = [Series(name, points, f"s{index % 6}") for index, (name, points) in enumerate(judged.items()) if points]
    charts = [line_chart(series, title="Loss on clips it does not train on", x_label="step")] if series else []
    trained = [(float(row["step"]), float(row["loss"])) for row in rows if "loss" in row]
    if trained:
        line = Series("training", _smooth(trained), "s1", trained)
        charts.append(line_chart([line], title=LOSSES["loss"], x_label="step"))
    return charts


def write_loss_plot(path: Path, curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Write the loss charts of one or more runs, one below another, as one self-contained SVG file."""
    if len(curves) == 1:
        charts = run_charts(*curves.values())
    else:
        charts = loss_charts(curves, {name: f"s{1 + index % 5}" for index, name in enumerate(curves)})
    stacked = "".join(f'<g transform="translate(0,{HEIGHT * index})">{svg}</g>' for index, svg in enumerate(charts))
    averages = {name for rows in curves.values() for row in rows for name in row.get("averages", {})}
    wide, tall = _width([*curves, "base domain", *averages]), HEIGHT * len(charts)
    with atomic_file(path) as partial:
        partial.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}">'
            f"<style>{STYLE}</style>{stacked}</svg>\n",
            encoding="utf-8",
        )


def _ticks(low: float, high: float, inside: bool = False) -> list[float]:
    """Return about five round numbers that cover low..high, or lie inside it."""
    span = (high - low) or abs(high) or 1.0
    rough = span / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 2.5 * power, 5 * power, 10 * power) if step >= rough * 0.999)
    first = math.ceil(low / step - 1e-9) if inside else math.floor(low / step + 1e-9)
    last = math.floor(high / step + 1e-9) if inside else math.ceil(high / step - 1e-9)
    return [step * k for k in range(first, max(last, first + (not inside)) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [digit * 10.0**decade for decade in decades for digit in (1, 2, 5)]
    first = max(k for k, tick in enumerate(ticks) if tick <= low * 1.001)
    last = min((k for k, tick in enumerate(ticks) if tick >= high * 0.999), default=len(ticks) - 1)
    return ticks[first : last + 1]


def _scaled(y: float, log: bool) -> float:
    return math.log10(y) if log else y


def _number(value: float, ticks: Sequence[float] = ()) -> str:
    """Return the number with enough digits to distinguish all `ticks`."""
    digits = next((d for d in range(4, 12) if len({f"{tick:.{d}g}" for tick in ticks}) == len(set(ticks))), 12)
    return f"{value:.{digits}g}".replace("-", "−")


def _shortened(name: str) -> str:
    return "frozen frame" if name == "first frame frozen" else name if len(name) <= 24 else f"{name[:12]}…{name[-11:]}"


def _width(names: Iterable[str]) -> int:
    """Return the width of a line chart with labels `names`. Longer labels widen the chart, not the lines."""
    return WIDTH - RIGHT + max(RIGHT, *(math.ceil(12 + LETTER * len(_shortened(name))) for name in names))


def _spread(heights: Sequence[float]) -> list[float]:
    """Return label heights pushed apart to `LABEL_GAP`, in the given order."""
    order = sorted(range(len(heights)), key=lambda k: heights[k])
    placed = list(heights)
    for above, below in pairwise(order):
        placed[below] = max(placed[below], placed[above] + LABEL_GAP)
    over = max(0.0, max(placed) - (HEIGHT - BOTTOM))
    return [height - over for height in placed]


def _smooth(points: Points) -> list[tuple[float, float]]:
    reach = max(1, len(points) // 40)
    smoothed = []
    for index, (x, _) in enumerate(points):
        window = [y for _, y in points[max(0, index - reach) : index + reach + 1]]
        smoothed.append((x, sum(window) / len(window)))
    return smoothed
