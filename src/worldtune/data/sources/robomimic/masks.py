"""The masks of a robomimic file: sets of demonstrations, such as those for training and for validation.

Format: robomimic.github.io, "Dataset structure", `mask/NAME`: a list of the names of demonstrations ("filter key").
"""

from functools import lru_cache
from pathlib import Path

import numpy as np

from worldtune.data.sources.hdf5.extent import check_extent
from worldtune.data.sources.hdf5.links import get_member, member_names
from worldtune.data.sources.robomimic.contents import open_hdf5


@lru_cache(maxsize=4096)
def read_masks(path: Path, state: str) -> dict[str, frozenset[str]]:
    """Return the names of the demonstrations of each mask; `state` changes whenever the file does.

    Raise DataError if the file cannot be read or a mask is a link to another file.
    """
    with open_hdf5(path) as file:
        group = get_member(file, "mask")
        if not hasattr(group, "keys"):
            return {}
        return {name: _names(group, name) for name in member_names(group)}


def _names(group: object, name: str) -> frozenset[str]:
    mask = get_member(group, name)
    if getattr(mask, "dtype", None) is None or mask.dtype.kind not in "SO" or len(mask.shape) != 1:
        return frozenset()
    check_extent(mask)
    return frozenset(member.decode(errors="replace") for member in np.asarray(mask) if isinstance(member, bytes))
