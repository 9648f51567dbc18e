"""The data bench in its small form, and that both sides of its ratios show the same. No speed is asserted."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data.data import PARTS
from benchmarks.data.decoding import one_core, stock_clip
from benchmarks.data.footage import CODECS, write_episodes, write_long_video
from benchmarks.fuzzing.fuzz import dataset_readers
from worldtune.cli.main import run
from worldtune.data.clip import Clip, read_clip
from worldtune.data.dataset import build_dataset
from worldtune.data.spec import DataSpec
from worldtune.data.video.footage import VideoFootage
from worldtune.data.video.video_index import measure_video


@pytest.mark.slow
def test_quick_bench_has_every_figure(
    warm: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLDTUNE_TEST_DATA", raising=False)
    assert run(["bench", "data", "--quick", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])["figures"]
    assert len(figures) == len({row["name"] for row in figures}) == PARTS
    shares = [row for row in figures if row["unit"] == "%"]
    assert [row["name"] for row in shares if row["better"] == "lower" and row["value"] != 0] == []
    assert {row["name"]: row["value"] for row in shares if row["better"] == "higher" and row["value"] != 100} == {
        "curation: spikes found, of 14": pytest.approx(100 * 12 / 14),
        "curation: swapped columns where no states tell found, of 8": 25,
    }
    readers = [row for row in figures if row["name"].startswith("reader ")]
    assert len(readers) == len(dataset_readers())
    assert [row["name"] for row in readers if row["value"] != 0 or not row["reached"]] == []
    assert [row["name"] for row in readers if " 0 frames" in row["name"]] == []
    timed = [row for row in figures if row["unit"] in ("×", "s", "1/s")]
    assert len(timed) == PARTS - len(shares) - len(readers)
    assert all(row["value"] > 0 for row in timed)


@pytest.mark.parametrize("codec", CODECS)
def test_both_ways_give_the_same_clip(tmp_path: Path, codec: str) -> None:
    """Up to the filters: theirs is Lanczos', ours takes the mean of what a pixel covers, or goes linearly between."""
    write_long_video(tmp_path / "a.mp4", codec, 40, 96, 128)
    assert measure_video(tmp_path / "a.mp4").frames == 40
    frame_indices = tuple(range(20, 29))
    for height, width in ((64, 64), (120, 160)):
        clip = Clip("", "", "", "", "", VideoFootage(tmp_path / "a.mp4"), frame_indices, 16, height, width, "stretch")
        ours, theirs = (
            read_clip(clip).astype(float),
            stock_clip(tmp_path / "a.mp4", frame_indices, height, width).astype(float),
        )
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).mean() < 4
        others = stock_clip(tmp_path / "a.mp4", tuple(pick - 8 for pick in frame_indices), height, width)
        assert np.abs(ours - others).mean() > 2 * np.abs(ours - theirs).mean()


def test_one_core_is_given_back() -> None:
    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


def test_no_two_episodes_are_alike(tmp_path: Path) -> None:
    write_episodes(tmp_path / "d", 100)
    dataset = build_dataset(DataSpec(path=str(tmp_path / "d"), frames=17, fps=16, height=64, width=64))
    assert len(dataset.train) == 100
