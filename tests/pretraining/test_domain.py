"""What the pocket world is shown and what it is never shown."""

from itertools import combinations

from domain import BASE_TASKS, BASE_VIEWS, NEW_TASKS, NEW_VIEW, NEW_VIEW_TASKS, SETS, SHOWN
from worldtune.sim.tasks import TASKS
from worldtune.sim.views import MOUNTED, VIEWS

GROUP_SEEDS = 900 * 1000  # render.py: a group's number below 900, a thousand seeds each


def test_base_has_at_least_ten_tasks_and_four_views() -> None:
    assert len(BASE_TASKS) >= 10
    assert len(BASE_VIEWS) >= 4


def test_new_view_and_new_tasks_are_never_shown_to_the_base() -> None:
    for base in (clips for clips in SETS if clips.name in SHOWN):
        assert NEW_VIEW not in base.views
        assert not set(NEW_TASKS) & set(base.tasks)
    assert len(NEW_TASKS) >= 3
    assert set(NEW_VIEW_TASKS) <= set(BASE_TASKS)


def test_sets_share_no_layout() -> None:
    for a, b in combinations(SETS, 2):
        assert abs(a.first_seed - b.first_seed) > GROUP_SEEDS


def test_simulator_has_every_task_and_view() -> None:
    for clips in SETS:
        assert set(clips.tasks) <= set(TASKS)
        assert set(clips.views) <= set(VIEWS)


def test_no_camera_is_at_the_new_view() -> None:
    lowest = min(
        VIEWS[view].elevation - clips.spread.elevation for clips in SETS if clips.name in SHOWN for view in clips.views
    )
    assert lowest > VIEWS[NEW_VIEW].elevation + MOUNTED.elevation + 20
