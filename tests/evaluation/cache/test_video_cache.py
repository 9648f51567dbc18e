from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldtune.errors import DataError
from worldtune.evaluation.cache.video_cache import VideoCache

from ..clips import moving_square


@settings(max_examples=20)
@given(st.integers(2, 5), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_cached_videos_are_lossless(
    tmp_path_factory: pytest.TempPathFactory, T: int, H: int, W: int, seed: int
) -> None:
    frames_THWC = np.random.default_rng(seed).integers(0, 256, (T, H, W, 3), np.uint8)
    cache = VideoCache(tmp_path_factory.mktemp("videos"))
    cache.put({"seed": seed}, frames_THWC)
    cached_THWC = cache.get({"seed": seed})
    assert cached_THWC is not None
    assert np.array_equal(cached_THWC, frames_THWC)
    assert cache.get({"seed": seed + 1}) is None


def test_a_damaged_video_is_an_error_and_leaves_no_other_file(tmp_path: Path) -> None:
    cache = VideoCache(tmp_path)
    cache.put({}, moving_square(0))
    path = cache.path({})
    path.write_bytes(b"no video")
    with pytest.raises(DataError, match="a cached video cannot be read"):
        cache.get({})
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]
