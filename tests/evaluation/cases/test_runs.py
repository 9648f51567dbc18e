from pathlib import Path
from typing import Any

import pytest

from support.adapters import SPECS, make_card
from support.training import small_recipe
from worldtune.adapters.card import write_card
from worldtune.errors import UserError
from worldtune.evaluation.cases.runs import read_runs
from worldtune.training.run_folder import RunFolder

LINEAGE = {"datasets": {"data": "digest"}}


def finished_run(folder: Path, lineage: dict[str, Any] = LINEAGE, step: int | None = 3) -> RunFolder:
    """Return a run of three steps with an adapter exported at `step`."""
    run = RunFolder(folder)
    run.start(small_recipe(Path("base"), Path("videos")))
    for number in range(1, 4):
        run.log(step=number, loss=0.1 * number)
    run.adapter.mkdir()
    card = make_card(SPECS["lora"], "base").model_copy(update={"lineage": lineage, "step": step})
    write_card(run.adapter, card)
    return run


def test_a_finished_run_is_read(tmp_path: Path) -> None:
    (run,) = read_runs({"run": finished_run(tmp_path / "run").path})
    assert [row["step"] for row in run.rows] == [1, 2, 3]


@pytest.mark.parametrize("lineage", [{}, {"datasets": []}, {"datasets": {}}])
def test_a_card_without_datasets_is_an_error(tmp_path: Path, lineage: dict[str, Any]) -> None:
    run = finished_run(tmp_path / "run", lineage)
    with pytest.raises(UserError, match="lacks the dataset"):
        read_runs({"run": run.path})


def test_an_adapter_without_a_step_is_an_error(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", step=None)
    with pytest.raises(UserError, match="the number of steps"):
        read_runs({"run": run.path})


@pytest.mark.parametrize("left", [0, 1, 2])
def test_missing_metrics_of_a_finished_run_are_an_error(tmp_path: Path, left: int) -> None:
    run = finished_run(tmp_path / "run")
    run.metrics.write_text("".join(run.metrics.read_text().splitlines(keepends=True)[:left]))
    with pytest.raises(UserError, match=f"the metrics of step {left + 1} are missing, but the run reached step 3"):
        read_runs({"run": run.path})


def test_a_finished_run_without_metrics_is_an_error(tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run")
    run.metrics.unlink()
    with pytest.raises(UserError, match="the metrics of step 1 are missing"):
        read_runs({"run": run.path})
