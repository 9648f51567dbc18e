"""What a row of `action` holds."""

import numpy as np
import pytest

from worldtune.core.actions.space import ActionSpace
from worldtune.errors import DataError


def test_mean_command_averages_the_commands_of_an_interval() -> None:
    space = ActionSpace(kind="delta", commands_per_frame=2)
    rows = np.array([[1, 10, 3, 20], [0, 0, 2, 2]], np.float32)
    assert space.mean_command(rows).tolist() == [[2, 15], [1, 1]]


def test_spread_evenly_repeats_the_mean_command() -> None:
    space = ActionSpace(kind="delta", commands_per_frame=3)
    mean = np.array([[2, 15]], np.float32)
    assert space.spread_evenly(mean).tolist() == [[2, 15, 2, 15, 2, 15]]
    assert space.mean_command(space.spread_evenly(mean)).tolist() == mean.tolist()


def test_rows_that_do_not_divide_are_an_error() -> None:
    with pytest.raises(DataError, match=r"20 numbers in a row of `action` are not 3 commands .* \[here\]"):
        ActionSpace(kind="delta", commands_per_frame=3).command_size(20, "here")


def test_state_columns_must_cover_a_command() -> None:
    with pytest.raises(DataError, match="state_columns names 2 columns, but a command has 4 numbers"):
        ActionSpace(kind="delta", state_columns=(0, None)).command_size(4, "here")
