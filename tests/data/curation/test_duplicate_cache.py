"""The cached near duplicates are those of the search, and belong to exactly these recordings."""

import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worldtune.data.curation import duplicate_cache
from worldtune.data.curation.duplicate_cache import cached_near_duplicates
from worldtune.data.curation.near_duplicates import Pair, find_near_duplicates
from worldtune.data.curation.recording import Recording
from worldtune.errors import DataError

from ..scenes import recompressed
from .test_near_duplicates import DRAW, SPAN, drawn, recording


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "worldtune" / "near_duplicates"


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each search."""
    made: list[int] = []

    def search(recordings: Sequence[Recording], span: float) -> list[Pair]:
        made.append(len(recordings))
        return find_near_duplicates(recordings, span)

    monkeypatch.setattr(duplicate_cache, "find_near_duplicates", search)
    return made


def with_copy(folder: Path) -> list[Recording]:
    frames_THWC, rows_TS = DRAW["fixed"](3)
    return [*drawn("fixed"), recording("copy", recompressed(folder / "a.mp4", frames_THWC, 24), rows_TS)]


def test_cached_pairs_are_those_of_the_search(tmp_path: Path, searches: list[int]) -> None:
    for recordings in (with_copy(tmp_path), [drawn("fixed")[3], with_copy(tmp_path)[-1]], list(drawn("fixed"))):
        expected = find_near_duplicates(recordings, SPAN)
        assert cached_near_duplicates(recordings, SPAN) == cached_near_duplicates(recordings, SPAN) == expected
    assert searches == [13, 2, 12]


def test_every_change_is_searched_again(tmp_path: Path, searches: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = with_copy(tmp_path)
    copy = plain[-1]
    assert copy.rows is not None
    changes: list[Recording] = [
        replace(copy, episode=plain[3].episode),
        replace(copy, times=copy.times + np.arange(len(copy.times)) * 1e-6),
        replace(copy, samples=copy.samples[:-1]),
        replace(copy, compressed=zlib.compress(zlib.decompress(copy.compressed), 9)),
        replace(copy, rows=None),
        replace(copy, rows=copy.rows + 1),
        replace(copy, rows=copy.rows.astype(np.float64)),
    ]
    cached_near_duplicates(plain, SPAN)
    for change in changes:
        changed = [*plain[:-1], change]
        assert cached_near_duplicates(changed, SPAN) == find_near_duplicates(changed, SPAN)
    cached_near_duplicates(plain[:-1], SPAN)
    cached_near_duplicates(plain, SPAN + 0.1)
    assert len(searches) == 1 + len(changes) + 2
    monkeypatch.setattr(duplicate_cache, "code_digest", lambda *modules: "other code")
    cached_near_duplicates(plain, SPAN)
    assert len(searches) == 1 + len(changes) + 3


def test_damaged_file_is_an_error(tmp_path: Path, cache: Path) -> None:
    recordings = list(drawn("fixed"))[:2]
    cached_near_duplicates(recordings, SPAN)
    (path,) = cache.iterdir()
    path.write_text("[")
    with pytest.raises(DataError, match="not JSON"):
        cached_near_duplicates(recordings, SPAN)
