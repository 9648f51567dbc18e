"""The demo's figures relative to full fine-tuning, on videos with a known outcome."""

from dataclasses import replace
from typing import Any

import pytest

from evaluation.clips import candidates, cases
from worldtune.cli.demo_goals import new_view_figures
from worldtune.core.statistics import estimate_mean
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.results import Comparison

LOSSES: dict[str, tuple[float | None, float | None]] = {"LoRA": (0.4, 0.2)}


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    judged = cases(6)
    return compare(judged, candidates(judged), not_run={"path_slope": "no states"})


def rows(comparison: Comparison, full: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    return {row["name"].removeprefix("LoRA: "): row for row in new_view_figures(comparison, LOSSES, full)}


def test_gain_is_divided_by_full_fine_tunings_gain(comparison: Comparison) -> None:
    gain_db = comparison.gain("LoRA").mean
    assert gain_db is not None
    full = {"held_out_loss": {"base": 0.5, "full fine-tuning": 0.25}, "psnr_gain_db": 2 * gain_db}
    found = rows(comparison, full)
    loss, psnr = (found[f"share of full fine-tuning's gain in {name}"] for name in ("loss", "PSNR"))
    assert loss["value"] == pytest.approx(0.2 / 0.25)
    assert psnr["value"] == pytest.approx(0.5)
    assert (loss["goal"], loss["reached"], psnr["reached"]) == (0.95, False, False)
    better = full | {"psnr_gain_db": gain_db}
    assert rows(comparison, better)["share of full fine-tuning's gain in PSNR"]["reached"] is True


def test_share_without_full_fine_tuning_states_the_reason(comparison: Comparison) -> None:
    row = rows(comparison, None)["share of full fine-tuning's gain in loss"]
    assert (row["value"], row["reached"]) == (None, False)
    assert row["why"] == "full fine-tuning was not measured on these clips"


def test_path_slope_and_end_point_have_goals(comparison: Comparison) -> None:
    assert rows(comparison, None)["path slope"]["why"] == "no states"
    result = comparison.headline.results["LoRA"]
    means = result.means | {"path_slope": estimate_mean([0.8]), "end_point_mm": estimate_mean([120.0])}
    results = comparison.headline.results | {"LoRA": replace(result, means=means)}
    found = rows(replace(comparison, headline=replace(comparison.headline, results=results)), None)
    assert (found["path slope"]["value"], found["path slope"]["reached"]) == (0.8, True)
    assert (found["end point"]["value"], found["end point"]["reached"]) == (120.0, False)
    assert (found["end-point slope"]["value"], found["end-point slope"]["why"]) == (None, "no states")
