"""Find the columns of a dataset's states that hold the gripper position."""

import re
from collections.abc import Sequence

from worldtune.errors import UserError

AXIS_NAME = re.compile(r"(?P<of>.*?)[._ ]?(?P<axis>[xyzw])$", re.IGNORECASE)


def find_gripper_columns(names: Sequence[str]) -> tuple[int, ...]:
    """Return the columns x, y and z of the only state with all three, such as hand.x, hand.y, hand.z.

    Return () if no state or more than one has them. A state that also has w is a rotation.
    """
    found: dict[str, dict[str, int]] = {}
    for column, name in enumerate(names):
        if match := AXIS_NAME.match(name):
            found.setdefault(match["of"], {})[match["axis"].lower()] = column
    positions = [tuple(columns[axis] for axis in "xyz") for columns in found.values() if set(columns) == set("xyz")]
    return positions[0] if len(positions) == 1 else ()


def parse_columns(text: str | None) -> tuple[int, ...]:
    """Return the columns of a text like `0,1,2`. Raise UserError unless it has three different numbers."""
    if text is None:
        return ()
    parts = text.split(",")
    if len(set(parts)) != 3 or not all(part.strip().isdigit() for part in parts):
        raise UserError(
            "the gripper position needs three columns of the states",
            where=f"--gripper-columns {text}",
            hint="Give three different column numbers, such as --gripper-columns 0,1,2.",
        )
    return tuple(int(part) for part in parts)
