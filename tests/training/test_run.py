import json
from pathlib import Path

import pytest

from support.training import small_recipe
from worldtune.errors import UserError
from worldtune.training.recipe import load_recipe
from worldtune.training.run import RunFolder

RECIPE = small_recipe(Path("base"), Path("films"))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that has taken three steps."""
    run = RunFolder(tmp_path / "runs" / "small")
    run.start(RECIPE)
    for step in range(4):
        run.log(step=step, loss=0.1 * step)
    return run


def test_the_resolved_recipe_is_in_the_folder(run: RunFolder) -> None:
    assert load_recipe(run.path / "recipe.yaml", []) == RECIPE


def test_a_second_run_does_not_start_in_it(run: RunFolder) -> None:
    with pytest.raises(UserError, match=r"already a run.*--resume"):
        RunFolder(run.path).start(RECIPE)


def test_a_run_that_never_measured_anything_may_start_again(tmp_path: Path) -> None:
    RunFolder(tmp_path).start(RECIPE)
    other = small_recipe(Path("base"), Path("corrected"))
    RunFolder(tmp_path).start(other)
    assert load_recipe(tmp_path / "recipe.yaml", []) == other


def test_the_same_recipe_resumes(run: RunFolder) -> None:
    RunFolder(run.path).resume(load_recipe(run.path / "recipe.yaml", []))


def test_another_recipe_does_not_resume(run: RunFolder) -> None:
    with pytest.raises(UserError, match="not the one this run was started with"):
        RunFolder(run.path).resume(small_recipe(Path("base"), Path("films"), steps=7))


def test_nothing_does_not_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to resume"):
        RunFolder(tmp_path / "none").resume(RECIPE)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create the folder"):
        RunFolder(tmp_path / "file" / "run").start(RECIPE)


def test_rows_come_back(run: RunFolder) -> None:
    assert run.rows() == [{"step": step, "loss": 0.1 * step} for step in range(4)]
    assert RunFolder(run.path / "none").rows() == []


@pytest.mark.parametrize(("step", "left"), [(2, [0, 1, 2]), (9, [0, 1, 2, 3]), (0, [])])
def test_what_will_be_made_again_is_forgotten(run: RunFolder, step: int, left: list[int]) -> None:
    lines = run.metrics.read_text().splitlines(keepends=True)
    run.forget_after(step)
    assert run.metrics.read_text() == "".join(lines[: len(left)])


def test_a_line_that_a_crash_cut_is_left_out(run: RunFolder) -> None:
    with run.metrics.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in run.rows()] == [0, 1, 2, 3]
    run.forget_after(3)
    assert run.metrics.read_text().endswith("}\n")


def test_a_run_is_resumed_with_what_it_was_started_with(run: RunFolder) -> None:
    made_of = {"base": {"digest": "b"}, "datasets": {"data": "d"}, "machine": "one"}
    run.keep_lineage(made_of)
    run.keep_lineage({**made_of, "machine": "another"})
    assert json.loads((run.path / "lineage.json").read_text()) == made_of
    with pytest.raises(UserError, match="the datasets changed since the run was started"):
        run.keep_lineage({**made_of, "datasets": {"data": "other"}})
    with pytest.raises(UserError, match="the base and datasets changed"):
        run.keep_lineage({"base": {"digest": "other"}, "datasets": {}})


def test_a_new_start_forgets_what_an_older_one_was_made_of(tmp_path: Path) -> None:
    for digest in ("one", "other"):
        run = RunFolder(tmp_path)
        run.start(RECIPE)
        run.keep_lineage({"base": {"digest": digest}, "datasets": {}})


def test_the_duration_is_kept_beside_the_metrics(run: RunFolder) -> None:
    before = run.metrics.read_bytes()
    assert run.seconds() is None
    run.note_time(12.34)
    assert run.seconds() == 12.3
    assert run.metrics.read_bytes() == before
