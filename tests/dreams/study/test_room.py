"""Whether a task is tested: replay of true labels first, then room between real demonstrations and true clips."""

import pytest

from dreams.study.fabricated import policy_results
from worldtune.dreams.study.room import Room, find_room
from worldtune.dreams.study.settings import BOUNDS, StudySettings


def room(real: float, oracle: float, replay: float, min_room: float = 0.3) -> Room:
    settings = StudySettings(draws=2, resets=20, arms=BOUNDS, min_room=min_room)
    bounds = policy_results(
        settings, {"reach": {"real": real, "oracle": oracle}, "other": {"real": 0.0, "oracle": 0.0}}
    )
    return find_room(settings, "reach", bounds, {"true": replay, "lora": 0.1})


def test_task_with_room_is_tested() -> None:
    assert room(0.5, 0.85, 0.8) == Room(real=0.5, oracle=0.85, replay=0.8, reason="")
    assert room(0.5, 0.85, 0.8).is_tested


@pytest.mark.parametrize(
    ("real", "oracle", "replay", "reason"),
    [
        (0.75, 1.0, 1.0, "no room: real demonstrations reach 75%, true clips 100%"),
        (1.0, 0.5, 1.0, "no room: real demonstrations reach 100%, true clips 50%"),
        (0.1, 0.9, 0.75, "not testable: replayed true labels succeed in only 75%"),
        (0.9, 0.9, 0.0, "not testable: replayed true labels succeed in only 0%"),
    ],
)
def test_reason_of_a_task_that_is_not_tested(real: float, oracle: float, replay: float, reason: str) -> None:
    found = room(real, oracle, replay)
    assert (found.reason, found.is_tested) == (reason, False)


def test_smoke_study_tests_every_task() -> None:
    """Without a minimum, stages can be tried on tasks that cannot show an effect."""
    assert room(1.0, 1.0, 0.0, min_room=0.0).is_tested
