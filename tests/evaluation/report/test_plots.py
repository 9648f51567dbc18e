import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune.evaluation.report.plots import (
    HEIGHT,
    WIDTH,
    Series,
    gain_chart,
    line_chart,
    loss_charts,
    write_loss_plot,
)

ROWS = [
    {"step": step, "loss": 0.7 / (1 + step), "lr": 1e-3, "held_out_loss": 0.6 / (1 + step) if step % 5 == 0 else None}
    for step in range(21)
]


def places(svg: str, style: str) -> list[tuple[float, float]]:
    """Return the points of the line with this CSS class."""
    for path in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}path"):
        if path.get("class") == style:
            return [tuple(map(float, point.split(","))) for point in path.attrib["d"][1:].split("L")]  # type: ignore[misc]
    raise AssertionError(f"no line {style}")


def test_a_line_runs_over_the_plot_and_higher_values_stand_higher() -> None:
    svg = line_chart([Series("a", [(0, 1.0), (10, 3.0), (20, 2.0)], "s1")], title="t", x_label="step")
    (x0, y0), (x1, y1), (x2, y2) = places(svg, "line s1")
    assert x0 < x1 < x2
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 < y2 < y0


def test_a_wide_range_is_drawn_on_a_log_scale_and_says_so() -> None:
    svg = line_chart([Series("a", [(0, 0.01), (1, 0.1), (2, 1.0)], "s1")], title="t", x_label="step")
    (_, y0), (_, y1), (_, y2) = places(svg, "line s1")
    assert "log scale" in svg
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.2)


@settings(max_examples=60)
@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=8))
def test_every_chart_is_well_formed_and_inside_its_frame(values: list[float]) -> None:
    svg = line_chart([Series("a", list(enumerate(values)), "s1")], title="t", x_label="x")
    for x, y in places(svg, "line s1"):
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    ET.fromstring(gain_chart([(str(k), value) for k, value in enumerate(values)], title="gain"))


def test_losses_that_no_run_logged_get_no_chart() -> None:
    charts = loss_charts({"LoRA": ROWS, "DoRA": ROWS}, {"LoRA": "s1", "DoRA": "s2"})
    assert ["Held-out loss" in charts[0], "Training loss" in charts[1], len(charts)] == [True, True, 2]


def test_hostile_names_stay_text() -> None:
    svg = gain_chart([("</title><script>alert(1)</script>", 1.0)], title="<b>")
    assert "<script" not in svg
    assert "<script" not in line_chart([Series("<script>", [(0, 1.0)], "s1")], title="t", x_label="x")


def test_the_loss_plot_is_self_contained(tmp_path: Path) -> None:
    write_loss_plot(tmp_path / "loss.svg", {"LoRA": ROWS, "DoRA": ROWS})
    text = (tmp_path / "loss.svg").read_text()
    ET.fromstring(text)
    assert "<style>" in text
    assert "LoRA" in text


def test_the_plot_of_one_run_shows_held_out_and_base_domain_loss(tmp_path: Path) -> None:
    rows = [row | {"base_domain_loss": 0.1, "averages": {"decay-0.9": 0.4}} for row in ROWS if row["held_out_loss"]]
    write_loss_plot(tmp_path / "loss.svg", {"LoRA": rows})
    first, second = (tmp_path / "loss.svg").read_text().split("Training loss")[:2]
    assert all(name in first for name in ("held out", "base domain", "decay-0.9"))
    assert "held out" not in second
