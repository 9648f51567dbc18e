import json
import os
import time
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
    with pytest.raises(UserError, match=r"not the one this run was started with: train.steps 6 → 7 .*--allow-change"):
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


@pytest.mark.parametrize(("step", "left"), [(2, [0, 1, 2]), (3, [0, 1, 2, 3]), (0, [])])
def test_what_will_be_made_again_is_forgotten(run: RunFolder, step: int, left: list[int]) -> None:
    lines = run.metrics.read_text().splitlines(keepends=True)
    run.forget_after(step)
    assert run.metrics.read_text() == "".join(lines[: len(left)])


@pytest.mark.parametrize("lost", ["all", "the last", "one between"])
def test_a_run_does_not_go_on_without_its_metrics(run: RunFolder, lost: str) -> None:
    lines = run.metrics.read_text().splitlines(keepends=True)
    if lost == "all":
        run.metrics.unlink()
    else:
        run.metrics.write_text("".join(lines[:3] if lost == "the last" else lines[:2] + lines[3:]))
    with pytest.raises(UserError, match=r"the metrics of step \d are missing"):
        run.forget_after(3)


def test_a_line_that_a_crash_cut_is_left_out(run: RunFolder) -> None:
    with run.metrics.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in run.rows()] == [0, 1, 2, 3]
    run.forget_after(3)
    assert run.metrics.read_text().endswith("}\n")


MADE_OF = {
    "recipe": "r",
    "base": {"digest": "b"},
    "datasets": {"data": "d"},
    "worldtune": "0.1",
    "code": "c",
    "versions": {"torch": "2.13"},
    "machine": {"threads": 2},
}


def test_a_run_is_resumed_with_what_it_was_started_with(run: RunFolder) -> None:
    assert run.keep_lineage(MADE_OF) == MADE_OF
    before = (run.path / "lineage.json").read_bytes()
    assert run.keep_lineage(MADE_OF) == MADE_OF
    assert (run.path / "lineage.json").read_bytes() == before
    with pytest.raises(UserError, match="the datasets changed since the run was started"):
        run.keep_lineage({**MADE_OF, "datasets": {"data": "other"}})
    with pytest.raises(UserError, match="the base and datasets changed"):
        run.keep_lineage({**MADE_OF, "base": {"digest": "other"}, "datasets": {}})


def test_other_code_since_is_told_beside_what_it_was_started_with(run: RunFolder) -> None:
    run.keep_lineage(MADE_OF)
    for _ in range(2):
        kept = run.keep_lineage({**MADE_OF, "code": "newer"})
    assert {part: kept[part] for part in MADE_OF} == MADE_OF
    assert [session["code"] for session in kept["resumed_with"]] == ["newer"]
    assert json.loads((run.path / "lineage.json").read_text()) == kept


def test_a_new_start_forgets_what_an_older_one_was_made_of(tmp_path: Path) -> None:
    for digest in ("one", "other"):
        run = RunFolder(tmp_path)
        run.start(RECIPE)
        run.keep_lineage({**MADE_OF, "base": {"digest": digest}})


def test_the_sessions_durations_are_added_up_beside_the_metrics(run: RunFolder) -> None:
    before = run.metrics.read_bytes()
    assert run.seconds() is None
    for _ in range(2):
        with run.timed():
            time.sleep(0.1)
    assert run.seconds() == pytest.approx(0.2, abs=0.15)
    assert run.metrics.read_bytes() == before


def test_the_duration_of_a_killed_session_is_not_known(run: RunFolder) -> None:
    (run.path / "timing.json").write_text('{"sessions": [3.0, null]}')
    with run.timed():
        pass
    assert run.seconds() is None


def test_a_recipe_that_is_not_ours_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("# mine\nname: small\n")
    with pytest.raises(UserError, match="not written by worldtune train"):
        RunFolder(tmp_path).start(RECIPE)
    assert (tmp_path / "recipe.yaml").read_text() == "# mine\nname: small\n"


def test_an_earlier_run_is_cleared(run: RunFolder) -> None:
    run.clear(RECIPE)
    assert not run.path.exists()
    run.clear(RECIPE)


@pytest.mark.parametrize("foreign", ["another recipe", "another file", "a file in its place"])
def test_nothing_else_is_cleared(run: RunFolder, foreign: str, tmp_path: Path) -> None:
    if foreign == "another file":
        (run.path / "thesis.tex").write_text("mine")
    if foreign == "a file in its place":
        run = RunFolder(tmp_path / "file")
        run.path.write_text("mine")
    recipe = small_recipe(Path("base"), Path("other")) if foreign == "another recipe" else RECIPE
    with pytest.raises(UserError, match="it is not removed"):
        run.clear(recipe)
    assert run.path.exists()


def test_what_an_evaluation_or_a_killed_process_left_is_cleared_too(run: RunFolder) -> None:
    (run.path / "report").mkdir()
    (run.path / ".adapter.0123abcd-77.partial").mkdir()
    with run.locked():
        pass
    run.clear(RECIPE)
    assert not run.path.exists()


@pytest.mark.parametrize("left", ["checkpoints", "adapter"])
def test_a_run_does_not_start_over_another_s_weights(tmp_path: Path, left: str) -> None:
    """Without its metrics an old checkpoint would still be the newest, and be exported under the new recipe."""
    (tmp_path / left).mkdir()
    with pytest.raises(UserError, match="already a run"):
        RunFolder(tmp_path).start(RECIPE)


def test_two_do_not_train_in_one_folder(run: RunFolder) -> None:
    with run.locked(), pytest.raises(UserError, match="another process"), RunFolder(run.path).locked():
        raise AssertionError("both are in")


def test_a_recipe_that_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "recipe.yaml")
    with pytest.raises(UserError, match="it is not replaced"):
        RunFolder(tmp_path).start(RECIPE)
