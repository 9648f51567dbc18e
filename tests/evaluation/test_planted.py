import numpy as np
import pytest

from worldtune.evaluation.planted import FAULTS, has_object

from .clips import moving_square
from .test_objects import GREEN, table


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_leaves_a_video_that_begins_as_it_did_and_is_another(name: str) -> None:
    real = np.stack([table(((20 + t, 24), GREEN)) for t in range(9)])
    harmed = FAULTS[name](real)
    assert (harmed.shape, harmed.dtype) == (real.shape, real.dtype)
    assert not np.array_equal(harmed, real)
    if name != "time reversed":
        assert np.array_equal(harmed[0], real[0])
    assert np.array_equal(FAULTS[name](real), harmed)


def test_objects_are_needed_for_faults_of_objects() -> None:
    nothing = np.full((4, 32, 32, 3), 90, np.uint8)
    assert not has_object(nothing)
    with pytest.raises(ValueError, match="no object"):
        FAULTS["object removed"](nothing)


def test_reversal_and_slowness_are_exact() -> None:
    real = moving_square(3)
    assert np.array_equal(FAULTS["time reversed"](real)[0], real[-1])
    assert np.array_equal(FAULTS["motion shrunk"](real)[-1], real[round(0.4 * (len(real) - 1))])
