"""The settings of a study: targets, smoke, changes on the command line, and mistakes in one line."""

from typing import Literal

import pytest

from worldtune.dreams.study.settings import ARMS, NEW_CAMERA_TASKS, study_settings
from worldtune.errors import RecipeError

Target = Literal["camera", "known", "task"]


def test_default_is_the_new_camera() -> None:
    settings = study_settings("camera", [], smoke=False)
    assert (settings.target, settings.view, settings.arms) == ("camera", "top", ARMS)
    assert (settings.adapter_tasks, settings.demonstrations) == (NEW_CAMERA_TASKS, 5)
    assert (settings.draws, settings.policy_seeds, settings.resets) == (3, 2, 40)
    assert settings.most_demonstrations == 20
    assert settings.dream_arms == ("base", "lora", "dora")


@pytest.mark.parametrize(
    ("target", "view", "demonstrations"), [("camera", "top", 5), ("known", "left", 2), ("task", "left", 5)]
)
def test_smoke_keeps_the_target(target: Target, view: str, demonstrations: int) -> None:
    settings = study_settings(target, [], smoke=True)
    assert (settings.target, settings.view, settings.demonstrations) == (target, view, demonstrations)
    assert (settings.draws, settings.policy_seeds, settings.resets, settings.min_room) == (1, 1, 10, 0)
    assert settings.arms == ("real", "lora", "shuffled", "oracle")
    assert settings.policy.steps == 200


def test_changes_do_not_leak_into_the_next_study() -> None:
    changed = study_settings("camera", ["policy.gain=50", "tasks=[button-press]", "draws=1"], smoke=True)
    assert (changed.policy.gain, changed.policy.steps, changed.tasks, changed.draws) == (50, 200, ("button-press",), 1)
    assert study_settings("camera", [], smoke=True).policy.gain == 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("draw=2", "unknown key 'draw'.*Did you mean 'draws'"),
        ("policy.gains=40", "unknown key 'policy.gains'.*Did you mean 'gain'"),
        ("draws=0", "'draws' is 0"),
        ("draws", "'draws' is not an override"),
        ("tasks=[hammer]", "adapter_tasks lacks hammer, whose policy is measured"),
        ("arms=[real, lora]", "arms lacks oracle: without it nothing can be concluded"),
        ("arms=[real, oracle, shuffled]", "filtered and shuffled use the dreams of lora"),
        ("arms=[real, oracle, magic]", "'arms.2' is 'magic'"),
        ("min_room=true", "'min_room' is True: a boolean"),
    ],
)
def test_mistakes_are_one_line(change: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as error:
        study_settings("camera", [change], smoke=False)
    assert "\n" not in str(error.value)
