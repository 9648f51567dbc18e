"""The path critic measures steps, jumps and places in units of real paths."""

import numpy as np
import pytest

from worldtune.dreams.critics.path import fit_scale, measure_path, path_of
from worldtune.dreams.idm.labels import Labels


def line(end: float, frames: int = 11) -> np.ndarray:
    """Return a path (T, 2) from 0 to `end` in the first column, at rest in the second."""
    return np.stack([np.linspace(0, end, frames), np.zeros(frames)], 1).astype(np.float32)


REAL = [line(1.0), line(2.0), line(3.0)]


def test_real_path_is_inside_its_own_scale() -> None:
    values = measure_path(line(2.0), fit_scale(REAL))
    assert values["largest step"] == pytest.approx(1.0)
    assert values["path length"] == pytest.approx(5.0)  # ten steps of 1, averaged with a column at rest
    assert values["outside the workspace"] == values["end outside the workspace"] == 0


def test_teleport_is_a_large_step_and_jump() -> None:
    path_TS = line(2.0)
    path_TS[5:, 0] += 0.8
    values = measure_path(path_TS, fit_scale(REAL))
    assert values["largest step"] == pytest.approx(5.0, rel=1e-5)
    assert values["largest jump"] > 1e3  # real paths have none


def test_end_outside_the_workspace_is_measured_in_its_span() -> None:
    values = measure_path(line(4.5), fit_scale(REAL))
    assert values["outside the workspace"] == pytest.approx(0.5)
    assert values["end outside the workspace"] == pytest.approx(0.5)
    assert measure_path(line(0.5), fit_scale(REAL))["outside the workspace"] == 0
    assert measure_path(line(0.4), fit_scale(REAL))["end outside the workspace"] == pytest.approx(0.2)


def test_commands_are_the_path_without_states() -> None:
    commands_ID, spread_I = np.ones((4, 2), np.float32), np.zeros(4, np.float32)
    assert path_of(Labels(commands_ID, None, spread_I)) is commands_ID
    assert path_of(Labels(commands_ID, REAL[0], spread_I)) is REAL[0]
