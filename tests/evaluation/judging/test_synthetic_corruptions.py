import numpy as np
import pytest

from worldtune.evaluation.judging.synthetic_corruptions import CORRUPTIONS, has_object

from ..clips import moving_square
from ..metrics.test_objects import GREEN, table


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_change_the_video_but_not_its_first_frame(name: str) -> None:
    real = np.stack([table(((20 + t, 24), GREEN)) for t in range(9)])
    corrupted = CORRUPTIONS[name](real)
    assert (corrupted.shape, corrupted.dtype) == (real.shape, real.dtype)
    assert not np.array_equal(corrupted, real)
    if name != "time reversed":
        assert np.array_equal(corrupted[0], real[0])
    assert np.array_equal(CORRUPTIONS[name](real), corrupted)


def test_object_corruptions_need_an_object() -> None:
    uniform = np.full((4, 32, 32, 3), 90, np.uint8)
    assert not has_object(uniform)
    with pytest.raises(ValueError, match="no object"):
        CORRUPTIONS["object removed"](uniform)


def test_reversed_and_shrunk_motion_are_exact() -> None:
    real = moving_square(3)
    assert np.array_equal(CORRUPTIONS["time reversed"](real)[0], real[-1])
    assert np.array_equal(CORRUPTIONS["motion shrunk"](real)[-1], real[round(0.4 * (len(real) - 1))])
