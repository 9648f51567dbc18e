"""The small version of the evaluation bench, and its table of corruptions. No speed is asserted."""

import json
from pathlib import Path

import pytest

from benchmarks.evaluation.corruptions import MARGINS, NO_CORRUPTION, PULLED, Margin, is_met, write_table
from worldtune.cli.main import run
from worldtune.evaluation.judging.synthetic_corruptions import CORRUPTIONS
from worldtune.evaluation.scoring.metric_definitions import METRICS

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.slow
def test_quick_bench_has_every_figure_and_draws(warm: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "evaluate", "--quick", "--json", "--plot", str(tmp_path)]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    margins = sum(map(len, MARGINS.values()))
    assert len(figures) == len({row["name"] for row in figures}) == 3 + margins + 4 + 5
    gates = {row["name"].partition(", ")[2].partition(":")[0]: row for row in figures if " gates, " in row["name"]}
    bad = ["a frozen frame", "a smear", "the nearest training clip", "each motion pulled to the mean"]
    assert list(gates) == ["the demo's adapter", *bad]
    assert all(row["value"] == 0 for row in gates.values()), "three clips are too few for any to pass"
    without = {row["name"].partition(": ")[2].partition(" (")[0] for row in figures if row["value"] is None}
    paths = {"path slope", "path correlation", "end point", "end-point slope", "end point over spread"}
    assert without == paths, "the small version has no path reader"
    assert (tmp_path / "faults.png").stat().st_size > 10_000
    table = (tmp_path / "faults.md").read_text().splitlines()
    assert table[0].split(" | ")[1:] == [NO_CORRUPTION, *CORRUPTIONS, f"{PULLED} |"]
    cells = motion_cells(tmp_path / "faults.md")
    assert cells[NO_CORRUPTION] == "1.00"
    assert {fault for fault in CORRUPTIONS if cells[fault].startswith("**")} == {"freeze", "jitter", "motion shrunk"}
    assert is_met(MARGINS["jitter"][1], float(cells["jitter"].strip("*")))


def motion_cells(path: Path) -> dict[str, str]:
    """Return the table's row of the motion ratio, by corruption."""
    motion = next(line for line in path.read_text().splitlines() if line.startswith("| motion"))
    return dict(zip(["metric", NO_CORRUPTION, *MARGINS], motion.strip("| ").split(" | "), strict=True))


def test_every_corruption_has_margins_of_known_metrics() -> None:
    assert list(MARGINS) == [*CORRUPTIONS, PULLED]
    assert all(margin.metric in METRICS for margins in MARGINS.values() for margin in margins)
    assert is_met(Margin("ssim", "least", 0.5), 0.5)
    assert not is_met(Margin("ssim", "least", 0.5), 0.4)
    assert is_met(Margin("ssim", "most", 0.5), 0.4)
    assert not is_met(Margin("ssim", "most", 0.5), None)


def test_the_table_has_the_margins_in_bold(tmp_path: Path) -> None:
    write_table(tmp_path / "faults.md", {fault: {"motion_ratio": 0.5} for fault in (NO_CORRUPTION, *MARGINS)})
    cells = motion_cells(tmp_path / "faults.md")
    assert {fault for fault, cell in cells.items() if cell == "**0.50**"} == {"freeze", "jitter", "motion shrunk"}
    assert cells[NO_CORRUPTION] == "0.50"


def test_the_documentation_has_the_table_that_was_measured() -> None:
    assert (DOCS / "figures" / "faults.md").read_text() in (DOCS / "evaluation.md").read_text()
