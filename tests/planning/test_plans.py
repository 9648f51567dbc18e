"""A plan is measured once for each set of inputs, and cached."""

from dataclasses import replace
from pathlib import Path

import pytest

from worldtune.errors import DataError
from worldtune.models.catalog import BY_NAME
from worldtune.planning import measured
from worldtune.planning.plans import EncodingPlan, GenerationPlan, TrainingPlan, cache_plan, find_plan
from worldtune.training.recipe import find_recipe

STEP = TrainingPlan(base=100, block=10, adapter=5, moments=10, step=50, flops=10**18)
OTHERS = (EncodingPlan(1, 2, 3, 4, 5), GenerationPlan({"none": {"decode": 3}}, 7, {"decode": 2}))
REAL = BY_NAME["predict2.5-2b/post-trained"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("plan", [STEP, *OTHERS])
def test_cached_plan_is_found_only_for_the_same_inputs(plan: TrainingPlan | EncodingPlan | GenerationPlan) -> None:
    cache_plan(plan, {"size": [93, 704, 1280]})
    assert find_plan(type(plan), {"size": [93, 704, 1280]}) == plan
    assert find_plan(type(plan), {"size": [93, 704, 1264]}) is None
    assert find_plan(TrainingPlan, {}) is None


def test_changed_code_measures_the_plan_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def measure() -> TrainingPlan:
        calls.append(1)
        return replace(STEP, step=len(calls))

    def plan(inputs: dict[str, object]) -> int:
        return measured.measured(TrainingPlan, "a step", REAL, inputs, measure).step

    assert [plan({"a": 1}), plan({"a": 1}), plan({"a": 2}), plan({"a": 1})] == [1, 1, 2, 1]
    monkeypatch.setattr(measured, "code_digest", lambda *modules: "other code")
    assert plan({"a": 1}) == 3


def test_cache_key_holds_every_setting_that_a_step_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting that `plan_recipe` reads changes the key; the number of steps and the learning rate do not."""
    keys: list[dict[str, object]] = []
    monkeypatch.setattr(measured, "measured", lambda kind, what, base, inputs, measure: keys.append(inputs) or STEP)
    plain, *changed = (
        [], ["train.batch=2"], ["train.optimizer=muon"], ["train.quantization=nf4"], ["train.modulation_fp32=true"],
        ["train.ema.power=[6.9]"], ["adapter.rank=8"], ["adapter.method=dora"], ["machine.checkpointing=none"],
        ["data.frames=45"], ["data.height=432", "data.width=768"],
    )  # fmt: skip
    for overrides in (plain, ["train.steps=7", "train.lr=1e-5"], *changed):
        measured.step_plan(REAL, find_recipe("predict2.5-2b-24gb", overrides))
    first, same, *others = keys
    assert first == same
    assert all(other != first for other in others)
    assert len({repr(other) for other in others}) == len(others)


def test_damaged_cached_plan_is_an_error(cache: Path) -> None:
    cache_plan(STEP, {})
    (path,) = (cache / "worldtune" / "plans").iterdir()
    path.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        find_plan(TrainingPlan, {})
