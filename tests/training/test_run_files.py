import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.training import small_recipe
from worldtune.errors import UserError
from worldtune.training.run_files import metrics_line, read_trackers
from worldtune.training.run_folder import RunFolder

RECIPE = small_recipe(Path("base"), Path("videos"))
LINEAGE = {"base": {"name": "tiny", "digest": "d"}, "datasets": {"data": "e"}, "recipe": "f"}
DAMAGED = ["", "{", "[]", "3", '{"a": 1, "a": 2}', "[" * 100_000, '{"step": NaN}', '{"sessions": [1, 1e999]}', "\x00"]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run after three steps, not in progress."""
    run = RunFolder(tmp_path / "run")
    run.start(RECIPE)
    run.save_lineage(LINEAGE)
    with run.timed():
        for step in range(1, 4):
            run.log(step=step, loss=0.1 * step, lr=1e-3, grad_norm=1.0)
    return run


def fault(read: Any, file: Path) -> str:
    with pytest.raises(UserError) as error:
        read()
    assert file.name in error.value.where
    assert "\n" not in str(error.value)
    return error.value.what


@pytest.mark.parametrize("content", [*DAMAGED, "{}", '{"sessions": 3}', '{"sessions": ["x"]}'])
def test_damaged_timing_is_named(run: RunFolder, content: str) -> None:
    path = run.path / "timing.json"
    path.write_text(content)
    fault(run.seconds, path)
    fault(lambda: run.timed().__enter__(), path)


@pytest.mark.parametrize(
    "content",
    [
        *DAMAGED,
        "{}",
        '{"base": {}}',
        '{"base": {}, "datasets": []}',
        '{"base": {}, "datasets": {}, "resumed_with": [{}]}',
    ],
)
def test_damaged_lineage_is_named(run: RunFolder, content: str) -> None:
    path = run.path / "lineage.json"
    path.write_text(content)
    fault(lambda: run.check_lineage(LINEAGE), path)
    fault(lambda: run.save_lineage(LINEAGE), path)


@pytest.mark.parametrize(
    "line",
    [
        *DAMAGED,
        "{}",
        '{"step": "2"}',
        '{"step": -1}',
        '{"step": 2, "held_out_loss": "low"}',
        '{"step": 2, "loss": null}',
    ],
)
def test_damaged_metrics_row_is_named(run: RunFolder, line: str) -> None:
    whole = run.metrics.read_text().splitlines()
    run.metrics.write_text("\n".join([whole[0], line, whole[2]]) + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2"):
        run.rows()
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2"):
        RunFolder(run.path).truncate_after(2)


@pytest.mark.parametrize(
    "content", [*DAMAGED, '{"ids": {}}', '{"ids": {"wandb": 3}, "told": {}}', '{"ids": {}, "told": {"a": "x"}}']
)
def test_damaged_trackers_file_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "trackers.json"
    path.write_text(content)
    fault(lambda: read_trackers(path), path)


def test_run_files_read_back_as_written(run: RunFolder) -> None:
    assert [row["loss"] for row in run.rows()] == [0.1, 0.2, 0.1 * 3]
    assert run.check_lineage(LINEAGE) == LINEAGE
    assert run.seconds() is not None
    run.metrics.write_text(run.metrics.read_text() + '{"step": 4, "lo')
    assert [row["step"] for row in run.rows()] == [1, 2, 3]


@given(
    st.dictionaries(st.text("abc", min_size=1), st.floats() | st.none() | st.dictionaries(st.text("abc"), st.floats()))
)
def test_metrics_line_is_json_for_any_numbers(row: dict[str, Any]) -> None:
    def known(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: known(inner) for name, inner in value.items()}
        return value if value is None or math.isfinite(value) else None

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(metrics_line(row), parse_constant=refuse) == known(row)


def test_non_finite_held_out_loss_reads_back_as_null(run: RunFolder) -> None:
    run.log(step=3, held_out_loss=math.nan, averages={"ema": math.inf})
    again = RunFolder(run.path)
    again.truncate_after(3)
    assert again.validations == [{"step": 3, "held_out_loss": None, "averages": {"ema": None}}]


def test_metrics_that_are_a_pipe_are_an_error(run: RunFolder) -> None:
    run.metrics.unlink()
    os.mkfifo(run.metrics)
    with pytest.raises(UserError, match="not a file"):
        run.rows()


def test_rows_of_a_live_run_are_read(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run.rows()

    def append_after(descriptor: int) -> os.stat_result:
        state = fstat(descriptor)
        with run.metrics.open("a") as file:
            file.write(metrics_line({"step": 4, "loss": 0.4}))
        return state

    fstat = os.fstat
    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", append_after)
        assert run.rows() == before
    assert [row["step"] for row in run.rows()] == [1, 2, 3, 4]
