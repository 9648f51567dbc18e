"""The data bench in its small form, and that both sides of its ratios show the same. No speed is asserted."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from worldtune.bench.data import PARTS
from worldtune.bench.decoding import one_core, stock_clip
from worldtune.bench.footage import CODECS, write_episodes, write_film
from worldtune.cli.main import run
from worldtune.episodes.clip import Clip, read_clip
from worldtune.episodes.dataset import take_stock
from worldtune.episodes.footage import Film
from worldtune.episodes.scan import measure
from worldtune.episodes.spec import DataSpec


@pytest.mark.slow
def test_quick_bench_has_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "data", "--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert len(figures) == len({row["name"] for row in figures}) == PARTS
    assert all(row["value"] is not None for row in figures)


@pytest.mark.parametrize("codec", CODECS)
def test_both_ways_give_the_same_clip(tmp_path: Path, codec: str) -> None:
    """Up to the filters: theirs is Lanczos', ours takes the mean of what a pixel covers, or goes linearly between."""
    write_film(tmp_path / "a.mp4", codec, 40, 96, 128)
    assert measure(tmp_path / "a.mp4").frames == 40
    picks = tuple(range(20, 29))
    for height, width in ((64, 64), (120, 160)):
        clip = Clip("", "", "", "", "", Film(tmp_path / "a.mp4"), picks, 16, height, width, "stretch")
        ours, theirs = read_clip(clip).astype(float), stock_clip(tmp_path / "a.mp4", picks, height, width).astype(float)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() < 4
        others = stock_clip(tmp_path / "a.mp4", tuple(pick - 8 for pick in picks), height, width)
        assert np.abs(ours - others).mean() > 2 * np.abs(ours - theirs).mean()


def test_one_core_is_given_back() -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_no_two_episodes_are_alike(tmp_path: Path) -> None:
    write_episodes(tmp_path / "d", 100)
    dataset = take_stock(DataSpec(path=str(tmp_path / "d"), frames=17, fps=16, height=64, width=64))
    assert len(dataset.train) == 100
