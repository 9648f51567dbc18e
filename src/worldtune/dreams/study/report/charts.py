"""The charts of the page as SVG: success by arm, and success over the number of real demonstrations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from worldtune.dreams.study.analysis import Worth
from worldtune.dreams.study.report.words import success
from worldtune.dreams.study.saved_results import ArmSuccess, Estimate
from worldtune.evaluation.report.svg import svg_document, svg_text

WIDTH, MARGIN = 360, 10
TOP, ROW, AXIS = 30, 36, 24
CURVE_HEIGHT, CURVE_LEFT, CURVE_RIGHT, CURVE_BOTTOM = 250, 54, 24, 44
TICKS = (0, 25, 50, 75, 100)


@dataclass(frozen=True)
class ChartRow:
    """One arm: its name, CSS class and success."""

    name: str
    style: str
    success: ArmSuccess


def success_chart(rows: Sequence[ChartRow], task: str) -> str:
    """Return a chart with a dot and an interval for each arm, and a small dot for each of its policies."""
    height = TOP + ROW * len(rows) + AXIS
    parts = [svg_text(MARGIN, 16, "Success", "title")]
    for tick in TICKS:
        x = _across(tick / 100)
        parts.append(f'<path class="grid" d="M{x:.1f},{TOP}V{height - AXIS}"/>')
        anchor = "start" if tick == 0 else "end" if tick == TICKS[-1] else "middle"
        parts.append(svg_text(x, height - 8, f"{tick}%", anchor=anchor))
    for number, row in enumerate(rows):
        top = TOP + ROW * number
        middle = top + 25
        low, mean, high = (_across(value) for value in (row.success.low, row.success.mean, row.success.high))
        parts += [
            svg_text(MARGIN, top + 13, row.name, f"name {row.style}"),
            svg_text(WIDTH - MARGIN, top + 13, success(row.success), "value", "end"),
            *(
                f'<circle class="policy {row.style}" cx="{_across(rate):.1f}" cy="{middle}" r="2"/>'
                for rates in row.success.by_policy
                for rate in rates
            ),
            f'<path class="interval {row.style}" d="M{low:.1f},{middle}H{high:.1f}"/>',
            f'<circle class="dot {row.style}" cx="{mean:.1f}" cy="{middle}" r="5"/>',
        ]
    return svg_document(parts, f"Success: {task}", WIDTH, height)


def learning_curve(
    real: Sequence[tuple[int, Estimate]], dreams: Estimate | None, worth: Worth | None, task: str
) -> str:
    """Return a chart of success over the number of real demonstrations, with the level that dreams reach.

    `real` has at least two numbers of demonstrations. The dashed line at a number of demonstrations is `worth`.
    """
    least, most = real[0][0], real[-1][0]
    floor = CURVE_HEIGHT - CURVE_BOTTOM

    def at_x(count: float) -> float:
        share = math.log(count / least) / math.log(most / least)
        return CURVE_LEFT + share * (WIDTH - CURVE_LEFT - CURVE_RIGHT)

    def at_y(rate: float) -> float:
        return floor - rate * (floor - TOP)

    title = "Success over real demonstrations"
    parts = [svg_text(MARGIN, 16, title, "title")]
    for tick in TICKS:
        parts.append(f'<path class="grid" d="M{CURVE_LEFT - 8},{at_y(tick / 100):.1f}H{WIDTH - CURVE_RIGHT + 8}"/>')
        parts.append(svg_text(CURVE_LEFT - 12, at_y(tick / 100) + 4, f"{tick}%", anchor="end"))
    if dreams is not None:
        left, right = CURVE_LEFT - 8, WIDTH - CURVE_RIGHT + 8
        top, tall = at_y(dreams.high), at_y(dreams.low) - at_y(dreams.high)
        parts.append(f'<rect class="band s1" x="{left}" y="{top:.1f}" width="{right - left}" height="{tall:.1f}"/>')
        parts.append(f'<path class="level s1" d="M{left},{at_y(dreams.mean):.1f}H{right}"/>')
    line = "L".join(f"{at_x(count):.1f},{at_y(estimate.mean):.1f}" for count, estimate in real)
    parts.append(f'<path class="line real" d="M{line}"/>')
    for count, estimate in real:
        x = at_x(count)
        parts.append(f'<path class="interval real" d="M{x:.1f},{at_y(estimate.low):.1f}V{at_y(estimate.high):.1f}"/>')
        parts.append(f'<circle class="dot real" cx="{x:.1f}" cy="{at_y(estimate.mean):.1f}" r="5"/>')
        parts.append(svg_text(x, floor + 17, str(count), anchor="middle"))
    if dreams is not None and worth is not None and worth.bound == "about":
        x = at_x(worth.demonstrations)
        parts.append(f'<path class="level s1" d="M{x:.1f},{at_y(dreams.mean):.1f}V{floor}"/>')
    parts.append(svg_text(WIDTH / 2, CURVE_HEIGHT - 8, "real demonstrations of the task", anchor="middle"))
    return svg_document(parts, f"{title}: {task}", WIDTH, CURVE_HEIGHT)


def _across(share: float) -> float:
    return MARGIN + share * (WIDTH - 2 * MARGIN)
