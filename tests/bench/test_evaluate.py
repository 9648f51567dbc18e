"""The evaluation bench in its small form, and its table of faults. No speed is asserted."""

import json
from pathlib import Path

import pytest

from worldtune.bench.evaluate import pairs
from worldtune.bench.faults import MARGINS, Margin, fault_table, kept, write_table
from worldtune.cli.main import run
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.planted import FAULTS
from worldtune.evaluation.scoring import Plain

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.slow
def test_quick_bench_has_every_figure_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "evaluate", "--quick", "--json", "--plot", str(tmp_path)]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    margins = sum(map(len, MARGINS.values()))
    assert len(figures) == len({row["name"] for row in figures}) == 3 + margins + 4
    without = {row["name"].partition(": ")[2].partition(" (")[0] for row in figures if row["value"] is None}
    assert without == {"reach", "path", "end point"}, "the reader of paths is not trained in the small version"
    assert (tmp_path / "faults.png").stat().st_size > 10_000
    table = (tmp_path / "faults.md").read_text().splitlines()
    assert table[0].split(" | ")[1:] == ["no fault", *list(FAULTS)[:-1], f"{list(FAULTS)[-1]} |"]


def test_every_fault_has_a_margin_of_a_metric_that_there_is() -> None:
    assert set(MARGINS) == set(FAULTS)
    assert all(margin.metric in MEASURES for its in MARGINS.values() for margin in its)
    assert kept(Margin("ssim", "least", 0.5), 0.5)
    assert not kept(Margin("ssim", "least", 0.5), 0.4)
    assert kept(Margin("ssim", "most", 0.5), 0.4)
    assert not kept(Margin("ssim", "most", 0.5), None)


def test_the_table_has_the_margins_in_bold(tmp_path: Path) -> None:
    cases, _ = pairs(2)
    table = fault_table(cases, [Plain()])
    assert table["no fault"]["motion_ratio"] == 1
    assert kept(MARGINS["jitter"][1], table["jitter"]["motion_ratio"])
    write_table(tmp_path / "faults.md", table)
    motion = next(line for line in (tmp_path / "faults.md").read_text().splitlines() if line.startswith("| motion"))
    cells = dict(zip(["metric", "no fault", *FAULTS], motion.strip("| ").split(" | "), strict=True))
    assert {fault for fault in FAULTS if cells[fault].startswith("**")} == {"freeze", "jitter", "motion shrunk"}


def test_the_documentation_has_the_table_that_was_measured() -> None:
    assert (DOCS / "figures" / "faults.md").read_text() in (DOCS / "evaluation.md").read_text()
