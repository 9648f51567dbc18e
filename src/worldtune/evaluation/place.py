"""Which columns of a dataset's states are the gripper's place."""

import re
from collections.abc import Sequence

from worldtune.errors import UserError

AXIS = re.compile(r"(?P<of>.*?)[._ ]?(?P<axis>[xyzw])$", re.IGNORECASE)


def place_columns(names: Sequence[str]) -> tuple[int, ...]:
    """The columns x, y and z of the one thing that has all three, as hand.x, hand.y, hand.z.

    None where none has, or several have: which is a place cannot be known. What has a w besides is a rotation.
    """
    found: dict[str, dict[str, int]] = {}
    for column, name in enumerate(names):
        if match := AXIS.match(name):
            found.setdefault(match["of"], {})[match["axis"].lower()] = column
    places = [tuple(its[axis] for axis in "xyz") for its in found.values() if set(its) == set("xyz")]
    return places[0] if len(places) == 1 else ()


def read_columns(asked: str | None) -> tuple[int, ...]:
    """The columns of `0,1,2`. Raises UserError when they are no three numbers."""
    if asked is None:
        return ()
    parts = asked.split(",")
    if len(set(parts)) != 3 or not all(part.strip().isdigit() for part in parts):
        raise UserError(
            "the place is three columns of the states, by their numbers",
            where=f"--place {asked}",
            mend="As --place 0,1,2.",
        )
    return tuple(int(part) for part in parts)
