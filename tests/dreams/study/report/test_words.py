"""Numbers and names as the page shows them."""

from typing import get_args

import pytest

from worldtune.dreams.study.report.size import why_too_small
from worldtune.dreams.study.report.words import arm_name, duration, listed, over_draws
from worldtune.dreams.study.settings import ARMS, StudySettings, Target, study_settings


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (101, "2 min"), (5900, "98 min"), (21600, "6.0 h")]
)
def test_duration_has_a_fitting_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.5], "0.50"),
        ([0.9, 0.8, 1.0], "0.90 (0.80 to 1.00)"),
        ([-0.5, None], "−0.50"),
        ([0.501, 0.502], "0.50"),
        ([None], "–"),
        ([], "–"),
    ],
)
def test_mean_over_draws_has_its_range(values: list[float | None], text: str) -> None:
    assert over_draws(values, 2) == text


def test_names_are_listed() -> None:
    assert [listed(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_arms_have_different_names() -> None:
    settings = StudySettings(demonstrations=3)
    names = {arm: arm_name(settings, arm) for arm in ARMS}
    assert len(set(names.values())) == len(ARMS)
    assert names["real"] == "3 real"
    assert names["real-x4"] == "12 real"
    assert names["lora"] == "3 real + dreams of the LoRA"


def test_default_studies_are_large_enough() -> None:
    for target in get_args(Target):
        assert why_too_small(study_settings(target, [], smoke=False)) == ""
    assert why_too_small(study_settings("camera", ["resets=29"], smoke=False)) == "29 resets instead of at least 30"
    assert why_too_small(study_settings("camera", [], smoke=True)).startswith("1 draw of demonstrations instead of")
