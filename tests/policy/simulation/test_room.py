import pytest

from worldtune.policy.simulation.room import Room, measure_room
from worldtune.policy.spec import PolicySpec
from worldtune.sim.scene import Scene


def test_room_of_a_task_with_untrained_policies(scene: Scene) -> None:
    spec = PolicySpec(steps=2, batch_size=4)
    room = measure_room(scene, [1, 2], clips=1, resets=1, spec=spec)
    assert (room.task, room.view, room.clips, room.resets) == ("button-press", "top", 1, 1)
    assert {k: len(successes) for k, successes in room.few.items()} == {1: 1, 2: 1}
    assert len(room.oracle) == 1
    assert (room.replayed_commands, room.replayed_paths) == (1, 1)


def test_points_are_the_difference_of_mean_success_rates() -> None:
    counts = {"replayed_commands": 3, "replayed_paths": 3}
    room = Room(task="a", view="b", resets=40, clips=3, few={2: [10, 20]}, oracle=[40, 38], seconds=1, **counts)
    assert room.points(2) == pytest.approx(60)
