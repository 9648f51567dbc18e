import pytest

from worldtune.data.sources.folder.camera_names import are_cameras, are_views, find_views, parse_view


@pytest.mark.parametrize(
    ("name", "episode", "camera"),
    [
        ("001_front", "001", "front"),
        ("front_001", "001", "front"),
        ("episode_000012_cam_high", "episode_000012", "cam_high"),
        ("pick 3 cam0", "pick 3", "cam0"),
        ("pick-camera_1-03", "pick_03", "camera_1"),
        ("takeLeftWrist7", "take_7", "LeftWrist"),
        ("wrist", "", "wrist"),
    ],
)
def test_camera_in_a_name_is_found(name: str, episode: str, camera: str) -> None:
    found = parse_view(name)
    assert found is not None
    assert (found.episode, found.camera) == (episode, camera)


@pytest.mark.parametrize("name", ["001", "lift", "frontier", "left_of_the_right_cup", "", "机器人"])
def test_name_without_exactly_one_camera_is_not_a_view(name: str) -> None:
    assert parse_view(name) is None


def is_ambiguous(lengths: dict[str, float]) -> bool:
    return are_views(find_views(lengths), lengths)


@pytest.mark.parametrize(
    "lengths",
    [
        {"1_front": 5, "1_wrist": 5, "2_front": 5, "2_wrist": 5},
        {"left": 5, "right": 5},
        {"pick_left": 5, "pick_right": 5.1, "place_left": 9, "place_right": 9},  # the lengths match in pairs
        {"pick_front": 5, "pick_wrist": 5},
        {"pick_1_front": 5, "pick_1_side": 5},
        {"ep1_cam0": 5, "ep1_cam1": 5, "ep1_cam2": 5, "notes": 3},
    ],
)
def test_views_of_one_moment_are_detected(lengths: dict[str, float]) -> None:
    assert is_ambiguous(lengths)


@pytest.mark.parametrize(
    "lengths",
    [
        {"1": 5, "2": 5, "lift_3": 5},
        {"turn_left": 5, "turn_right": 5},  # tasks, all of the same length
        {"place_front_1": 5, "place_back_1": 7, "place_front_2": 6, "place_back_2": 9},
        {"front_1": 5, "wrist_2": 5},
        {"open_front_door": 5, "open_rear_door": 5},
        {f"put_the_book_in_the_{side}_compartment": 5 for side in ("left", "right", "back", "front")},
        {f"cam_{number:03d}": 5 for number in range(40)},
        {f"camera{number}": 5 for number in range(20)},
        {f"use_the_{hand}_hand_{number}": 5 for hand in ("left", "right") for number in range(9)},
    ],
)
def test_independent_videos_are_not_views(lengths: dict[str, float]) -> None:
    assert not is_ambiguous(lengths)


def test_only_camera_names_are_cameras() -> None:
    assert are_cameras(["cam_high", "wrist2", "camera_01"])
    assert not are_cameras(["front", "episode_1"])
    assert not are_cameras([])
