import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.training import small_recipe
from worldtune.errors import UserError
from worldtune.training.recipe import load_recipe
from worldtune.training.run_folder import RunFolder

RECIPE = small_recipe(Path("base"), Path("videos"))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run after three steps."""
    run = RunFolder(tmp_path / "runs" / "small")
    run.start(RECIPE)
    for step in range(4):
        run.log(step=step, loss=0.1 * step)
    return run


def test_start_writes_the_resolved_recipe(run: RunFolder) -> None:
    assert load_recipe(run.path / "recipe.yaml", []) == RECIPE


def test_second_run_in_a_folder_is_an_error(run: RunFolder) -> None:
    with pytest.raises(UserError, match=r"already a run.*--resume"):
        RunFolder(run.path).start(RECIPE)


def test_run_without_metrics_may_start_again(tmp_path: Path) -> None:
    RunFolder(tmp_path).start(RECIPE)
    other = small_recipe(Path("base"), Path("corrected"))
    RunFolder(tmp_path).start(other)
    assert load_recipe(tmp_path / "recipe.yaml", []) == other


def test_same_recipe_resumes(run: RunFolder) -> None:
    RunFolder(run.path).resume(load_recipe(run.path / "recipe.yaml", []))


def test_changed_recipe_does_not_resume(run: RunFolder) -> None:
    with pytest.raises(UserError, match=r"recipe has changed since .*: train.steps 6 → 7 .*--allow-change"):
        RunFolder(run.path).resume(small_recipe(Path("base"), Path("videos"), steps=7))


def test_empty_folder_does_not_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to resume"):
        RunFolder(tmp_path / "none").resume(RECIPE)


def test_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create the folder"):
        RunFolder(tmp_path / "file" / "run").start(RECIPE)


def test_rows_read_back(run: RunFolder) -> None:
    assert run.rows() == [{"step": step, "loss": 0.1 * step} for step in range(4)]
    assert RunFolder(run.path / "none").rows() == []


@pytest.mark.parametrize(("step", "left"), [(2, [0, 1, 2]), (3, [0, 1, 2, 3]), (0, [])])
def test_truncate_drops_later_metrics(run: RunFolder, step: int, left: list[int]) -> None:
    lines = run.metrics.read_text().splitlines(keepends=True)
    run.truncate_after(step)
    assert run.metrics.read_text() == "".join(lines[: len(left)])


@pytest.mark.parametrize("lost", ["all", "the last", "one between"])
def test_missing_metrics_are_an_error(run: RunFolder, lost: str) -> None:
    lines = run.metrics.read_text().splitlines(keepends=True)
    if lost == "all":
        run.metrics.unlink()
    else:
        run.metrics.write_text("".join(lines[:3] if lost == "the last" else lines[:2] + lines[3:]))
    with pytest.raises(UserError, match=r"the metrics of step \d are missing"):
        run.truncate_after(3)


def test_line_cut_short_by_a_crash_is_dropped(run: RunFolder) -> None:
    with run.metrics.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in run.rows()] == [0, 1, 2, 3]
    run.truncate_after(3)
    assert run.metrics.read_text().endswith("}\n")


LINEAGE = {
    "recipe": "r",
    "base": {"digest": "b"},
    "datasets": {"data": "d"},
    "worldtune": "0.1",
    "code": "c",
    "versions": {"torch": "2.13"},
    "machine": {"threads": 2},
}


def test_resumed_run_needs_the_same_base_and_datasets(run: RunFolder) -> None:
    assert run.save_lineage(LINEAGE) == LINEAGE
    before = (run.path / "lineage.json").read_bytes()
    assert run.save_lineage(LINEAGE) == LINEAGE
    assert (run.path / "lineage.json").read_bytes() == before
    with pytest.raises(UserError, match="the datasets changed since the run was started"):
        run.save_lineage({**LINEAGE, "datasets": {"data": "other"}})
    with pytest.raises(UserError, match="the base and datasets changed"):
        run.save_lineage({**LINEAGE, "base": {"digest": "other"}, "datasets": {}})


def test_lineage_records_changed_code_of_a_resumed_run(run: RunFolder) -> None:
    run.save_lineage(LINEAGE)
    for _ in range(2):
        lineage = run.save_lineage({**LINEAGE, "code": "newer"})
    assert {part: lineage[part] for part in LINEAGE} == LINEAGE
    assert [session["code"] for session in lineage["resumed_with"]] == ["newer"]
    assert json.loads((run.path / "lineage.json").read_text()) == lineage


def test_restart_replaces_the_lineage(tmp_path: Path) -> None:
    for digest in ("one", "other"):
        run = RunFolder(tmp_path)
        run.start(RECIPE)
        run.save_lineage({**LINEAGE, "base": {"digest": digest}})


def test_session_durations_are_summed(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run.metrics.read_bytes()
    assert run.seconds() is None
    clock = iter([100.0, 102.5, 900.0, 904.3])
    monkeypatch.setattr("worldtune.training.run_folder.time", SimpleNamespace(monotonic=lambda: next(clock)))
    for _ in range(2):
        with run.timed():
            pass
    assert run.seconds() == pytest.approx(2.5 + 4.3)
    assert run.metrics.read_bytes() == before


def test_killed_session_has_no_duration(run: RunFolder) -> None:
    (run.path / "timing.json").write_text('{"sessions": [3.0, null]}')
    with run.timed():
        pass
    assert run.seconds() is None


def test_foreign_recipe_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("# mine\nname: small\n")
    with pytest.raises(UserError, match="not written by worldtune train"):
        RunFolder(tmp_path).start(RECIPE)
    assert (tmp_path / "recipe.yaml").read_text() == "# mine\nname: small\n"


def test_earlier_run_is_cleared(run: RunFolder) -> None:
    run.clear(RECIPE)
    assert not run.path.exists()
    run.clear(RECIPE)


@pytest.mark.parametrize("foreign", ["another recipe", "another file", "a file in its place"])
def test_other_folders_are_not_cleared(run: RunFolder, foreign: str, tmp_path: Path) -> None:
    if foreign == "another file":
        (run.path / "thesis.tex").write_text("mine")
    if foreign == "a file in its place":
        run = RunFolder(tmp_path / "file")
        run.path.write_text("mine")
    recipe = small_recipe(Path("base"), Path("other")) if foreign == "another recipe" else RECIPE
    with pytest.raises(UserError, match="is not removed"):
        run.clear(recipe)
    assert run.path.exists()


def test_reports_and_leftovers_are_cleared(run: RunFolder) -> None:
    (run.path / "report").mkdir()
    (run.path / ".adapter.0123abcd-77.partial").mkdir()
    with run.lock():
        pass
    run.clear(RECIPE)
    assert not run.path.exists()


@pytest.mark.parametrize("left", ["checkpoints", "adapter"])
def test_run_does_not_start_over_old_weights(tmp_path: Path, left: str) -> None:
    """An old checkpoint would still be the newest, and be exported under the new recipe."""
    (tmp_path / left).mkdir()
    with pytest.raises(UserError, match="already a run"):
        RunFolder(tmp_path).start(RECIPE)


def test_two_processes_cannot_lock_one_folder(run: RunFolder) -> None:
    with run.lock(), pytest.raises(UserError, match="another process"), RunFolder(run.path).lock():
        raise AssertionError("both are in")


def test_recipe_that_is_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")
    with pytest.raises(UserError, match="is not replaced"):
        RunFolder(tmp_path).start(RECIPE)
