import pytest

from worldtune.errors import UserError
from worldtune.evaluation.cases.gripper_columns import find_gripper_columns, parse_columns


@pytest.mark.parametrize(
    ("names", "columns"),
    [
        (["hand.x", "hand.y", "hand.z", "gripper"], (0, 1, 2)),
        (["joint_1", "eef_z", "eef_x", "eef_y"], (2, 3, 1)),
        (["x", "y", "z", "rx", "ry", "rz"], ()),  # a position and a rotation: ambiguous
        (["q.x", "q.y", "q.z", "q.w", "hand.x", "hand.y", "hand.z"], (4, 5, 6)),
        (["vel_x", "vel_y", "vel_z", "pos_x", "pos_y", "pos_z"], ()),
        (["X", "Y", "Z"], (0, 1, 2)),
        (["base_x", "base_y", "theta", "hand_x", "hand_y", "hand_z"], (3, 4, 5)),
        (["shoulder_pan.pos", "gripper.pos"], ()),
        (["index", "y", "z"], ()),
        ([], ()),
    ],
)
def test_the_gripper_position_is_found_by_its_names(names: list[str], columns: tuple[int, ...]) -> None:
    assert find_gripper_columns(names) == columns


def test_columns_are_parsed_from_three_numbers() -> None:
    assert parse_columns(None) == ()
    assert parse_columns("4, 5,6") == (4, 5, 6)
    for wrong in ("1,2", "a,b,c", "1,2,3,4", "-1,0,1"):
        with pytest.raises(UserError, match="three columns"):
            parse_columns(wrong)
