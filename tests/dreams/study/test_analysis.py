"""Success by draw, seed and reset, differences of arms, and what dreams are worth in demonstrations."""

import math

import numpy as np
import pytest

from dreams.study.fabricated import SUCCESS, policy_results
from worldtune.core.intervals.hierarchical_bootstrap import HierarchicalEstimate
from worldtune.dreams.study.analysis import COMPARED, Worth, analyze, success_array, worth_in_demonstrations
from worldtune.dreams.study.policies import PolicyResult
from worldtune.dreams.study.settings import BOUNDS, Arm, StudySettings

SETTINGS = StudySettings(draws=2, policy_seeds=3, resets=4)


def result(draw: int, seed: int, success: list[bool], arm: Arm = "real") -> PolicyResult:
    return PolicyResult(
        task="reach", draw=draw, arm=arm, seed=seed, success=success, loss=0.1, real=5, synthetic=0, train_seconds=1,
        evaluate_seconds=1,
    )  # fmt: skip


def level(mean: float) -> HierarchicalEstimate:
    return HierarchicalEstimate(mean, mean, mean, 1, 1, 2, ("resets",))


def test_success_array_is_ordered_by_draw_and_seed() -> None:
    results = [
        result(1, 0, [True, True]),
        result(0, 1, [False, True]),
        result(0, 0, [True, False]),
        result(1, 1, [False, False]),
        result(0, 0, [True, True], arm="lora"),
    ]
    assert success_array(results, "real").tolist() == [[[1, 0], [0, 1]], [[1, 1], [0, 0]]]


def test_missing_policy_is_an_error() -> None:
    with pytest.raises(ValueError, match="real has 3 policies for 2 draws and 2 seeds"):
        success_array([result(0, 0, [True]), result(0, 1, [True]), result(1, 0, [True])], "real")


def test_differences_are_paired() -> None:
    """Dreams succeed from the reset where real demonstrations do not: the means alone would not show it."""
    settings = StudySettings(draws=2, policy_seeds=1, resets=4, arms=("real", "lora", "oracle"))
    results = [
        result(draw, 0, success, arm)
        for draw in range(2)
        for arm, success in (
            ("real", [True, False, False, False]),
            ("lora", [True, True, False, False]),
            ("oracle", [True, True, True, True]),
        )
    ]
    found = analyze(settings, results)
    assert {arm: estimate.mean for arm, estimate in found.success.items()} == {"real": 0.25, "lora": 0.5, "oracle": 1}
    assert set(found.difference) == {("lora", "real"), ("lora", "oracle"), ("oracle", "real")}
    gain = found.difference["lora", "real"]
    assert (gain.mean, gain.interval_covers) == (0.25, ("draws", "resets"))
    assert found.by_policy["lora"].tolist() == [[0.5], [0.5]]
    assert found.worth is None, "no arm has more real demonstrations"


def test_all_arms_give_all_differences() -> None:
    found = analyze(SETTINGS, policy_results(SETTINGS, {"reach": {arm: 0.5 for arm in SUCCESS}}))
    assert set(found.difference) == set(COMPARED)
    assert all(estimate.mean == 0 for estimate in found.difference.values())


@pytest.mark.parametrize(
    ("lora", "worth"),
    [
        (0.4, Worth(demonstrations=5, bound="at most")),
        (0.5, Worth(demonstrations=5, bound="at most")),
        (0.7, Worth(demonstrations=10, bound="about")),
        (0.8, Worth(demonstrations=10 * math.sqrt(2), bound="about")),
        (0.95, Worth(demonstrations=20, bound="more than")),
    ],
)
def test_worth_is_interpolated_over_the_logarithm(lora: float, worth: Worth) -> None:
    success: dict[Arm, HierarchicalEstimate] = {
        "real": level(0.5), "real-x2": level(0.7), "real-x4": level(0.9), "lora": level(lora)
    }  # fmt: skip
    found = worth_in_demonstrations(SETTINGS, success)
    assert found is not None
    assert (found.bound, found.demonstrations) == (worth.bound, pytest.approx(worth.demonstrations, abs=1e-9))


def test_worth_needs_dreams_and_more_demonstrations() -> None:
    assert worth_in_demonstrations(SETTINGS, {"real": level(0.5), "lora": level(0.7)}) is None
    assert worth_in_demonstrations(SETTINGS, {"real": level(0.5), "real-x2": level(0.7)}) is None


def test_interval_of_few_draws_is_wider() -> None:
    """Policies of one draw that agree do not say that draws agree."""
    rates = {0: 0.25, 1: 0.75}
    apart = [
        result(draw, seed, (np.arange(4) < 4 * rates[draw]).tolist(), arm)
        for draw in rates
        for seed in range(3)
        for arm in ("real", "oracle")
    ]
    settings = SETTINGS.model_copy(update={"arms": BOUNDS})
    wide = analyze(settings, apart).success["real"]
    assert wide.low < 0.25 < 0.75 < wide.high
