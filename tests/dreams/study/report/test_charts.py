"""The charts: dots, intervals and levels where the numbers say."""

import re
from xml.etree import ElementTree

import pytest

from worldtune.dreams.study.analysis import Worth
from worldtune.dreams.study.report.charts import ChartRow, learning_curve, success_chart
from worldtune.dreams.study.saved_results import ArmSuccess, Estimate

SVG = "{http://www.w3.org/2000/svg}"


def arm(mean: float, low: float, high: float, by_policy: tuple[tuple[float, ...], ...] = ()) -> ArmSuccess:
    return ArmSuccess(
        mean=mean, low=low, high=high, draws=3, seeds=2, resets=40, interval_covers=("draws",), by_policy=by_policy,
        real=5, synthetic=48,
    )  # fmt: skip


def test_dot_and_interval_lie_at_the_success() -> None:
    """The axis has 340 pixels from 10 to 350: 80% lies at 282."""
    dreams = arm(0.8, 0.7, 0.9, ((0.75, 1.0),))
    rows = [ChartRow("5 real", "real", arm(0.5, 0.4, 0.6)), ChartRow("dreams", "s1", dreams)]
    svg = ElementTree.fromstring(success_chart(rows, "plate & slide"))
    assert svg.get("aria-label") == "Success: plate & slide"
    dots = [dot for dot in svg.iter(f"{SVG}circle") if "dot" in dot.get("class", "")]
    assert [(dot.get("class"), float(dot.get("cx", ""))) for dot in dots] == [("dot real", 180), ("dot s1", 282)]
    policies = [dot for dot in svg.iter(f"{SVG}circle") if "policy" in dot.get("class", "")]
    assert [float(dot.get("cx", "")) for dot in policies] == [265, 350]
    paths = [path.get("d", "") for path in svg.iter(f"{SVG}path") if path.get("class") == "interval s1"]
    assert [re.findall(r"[\d.]+", path) for path in paths] == [["248.0", "91", "316.0"]]
    assert "80% [70, 90]" in [text.text for text in svg.iter(f"{SVG}text")]


@pytest.mark.parametrize("bound", ["about", "more than"])
def test_learning_curve_shows_the_level_of_dreams(bound: str) -> None:
    """Ten demonstrations lie halfway between 5 and 20; the level's band spans its interval."""
    real: list[tuple[int, Estimate]] = [(5, arm(0.5, 0.4, 0.6)), (10, arm(0.7, 0.6, 0.8)), (20, arm(1, 1, 1))]
    worth = Worth.model_validate({"demonstrations": 10, "bound": bound})
    svg = ElementTree.fromstring(learning_curve(real, arm(0.7, 0.5, 1.0), worth, "reach"))
    dots = [(float(dot.get("cx", "")), float(dot.get("cy", ""))) for dot in svg.iter(f"{SVG}circle")]
    (left, bottom), (middle, _), (right, top) = dots
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    (band,) = svg.iter(f"{SVG}rect")
    assert float(band.get("y", "")) == pytest.approx(top, abs=0.1)
    assert float(band.get("height", "")) == pytest.approx(bottom - top, abs=0.2)
    levels = [path.get("d", "") for path in svg.iter(f"{SVG}path") if path.get("class") == "level s1"]
    assert len(levels) == (2 if bound == "about" else 1)
    assert levels[1:] == [] or levels[1].startswith(f"M{middle}")
