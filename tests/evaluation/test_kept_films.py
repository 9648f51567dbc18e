from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune.errors import DataError
from worldtune.evaluation.kept_films import KeptFilms

from .clips import moving_square


@settings(max_examples=20)
@given(st.integers(2, 5), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_every_pixel_comes_back(tmp_path_factory: pytest.TempPathFactory, T: int, H: int, W: int, seed: int) -> None:
    frames_THWC = np.random.default_rng(seed).integers(0, 256, (T, H, W, 3), np.uint8)
    films = KeptFilms(tmp_path_factory.mktemp("films"))
    films.put({"seed": seed}, frames_THWC)
    found = films.get({"seed": seed})
    assert found is not None
    assert np.array_equal(found, frames_THWC)
    assert films.get({"seed": seed + 1}) is None


def test_a_video_that_is_damaged_or_cut_is_named(tmp_path: Path) -> None:
    films = KeptFilms(tmp_path)
    films.put({}, moving_square(0))
    path = films.place({})
    path.write_bytes(b"no video")
    with pytest.raises(DataError, match="a kept video cannot be read"):
        films.get({})
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
