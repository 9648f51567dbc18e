"""Several seeds for a case: mean scores, the worst seed, and the score cache."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from worldtune.errors import DataError, UserError
from worldtune.evaluation.cache.score_cache import open_score_cache
from worldtune.evaluation.cases.case import Frames, Video, video_from_frames
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.report.scores_table import write_scores
from worldtune.evaluation.results import FROZEN, Comparison
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.metric_definitions import METRICS
from worldtune.evaluation.scoring.pixel_metrics import PixelScorer, VideoPair, rms_difference
from worldtune.evaluation.scoring.score_case import average_seeds

from ..clips import cases, moving_square

SEEDS = (7, 8)


class Weighted:
    """A scorer with different weights of clips. It counts its calls."""

    __module__ = PixelScorer.__module__  # the key of a cached score covers the code of this module
    names = ("path_slope",)
    digest = "weighted"

    def __init__(self) -> None:
        self.calls = 0

    def score(self, pair: VideoPair) -> Scores:
        self.calls += 1
        number = int(pair.case.name[:6])
        return Scores({"path_slope": 0.5 * number}, weights={"path_slope": 1.0 + number})


def seed_scores(noises: tuple[float, ...]) -> dict[str, list[Video]]:
    return {
        case.name: [video_from_frames(moving_square(int(case.name[:6]), lag=0.2, noise=noise)) for noise in noises]
        for case in cases(3)
    }


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(
        cases(3),
        {"base": seed_scores((12, 9)), "LoRA": seed_scores((6, 2)), "old": seed_scores((4,))},
        seeds=SEEDS,
        scorers=[Weighted()],
    )


def test_a_score_is_the_mean_over_the_seeds(comparison: Comparison) -> None:
    row = comparison.rows[0]
    both = [seed_score.values["psnr_db"] for seed_score in row.seed_scores["LoRA"]]
    assert [seed_score.seed for seed_score in row.seed_scores["LoRA"]] == list(SEEDS)
    assert row.scores["LoRA"].psnr_db == pytest.approx(np.mean(both))  # type: ignore[arg-type]
    assert len(row.seed_scores[FROZEN]) == len(row.seed_scores["old"]) == 1
    assert comparison.gain("LoRA").n == 3, "a clip counts once, however many seeds it has"


def test_each_video_is_compared_with_the_bases_of_the_same_seed(comparison: Comparison) -> None:
    base, lora, name = seed_scores((12, 9)), seed_scores((6, 2)), cases(1)[0].name
    for index, seed_score in enumerate(comparison.rows[0].seed_scores["LoRA"]):
        assert seed_score.values["base_difference"] == pytest.approx(
            rms_difference(lora[name][index].read(), base[name][index].read())
        )
    assert comparison.rows[0].seed_scores["base"][0].values["base_difference"] is None


def test_diversity_is_the_distance_between_the_seeds(comparison: Comparison) -> None:
    first, second = (video.read() for video in seed_scores((6, 2))[cases(1)[0].name])
    assert comparison.rows[0].scores["LoRA"].values["diversity"] == pytest.approx(rms_difference(first, second))
    assert comparison.rows[0].scores["old"].values["diversity"] is None


def test_the_worst_seed_is_the_one_that_gains_least(comparison: Comparison) -> None:
    row = comparison.rows[0]
    gains = [
        lora.values["psnr_db"] - base.values["psnr_db"]  # type: ignore[operator]
        for lora, base in zip(row.seed_scores["LoRA"], row.seed_scores["base"], strict=True)
    ]
    assert row.worst_seed_index("LoRA", "base") == int(np.argmin(gains))


def test_a_weighted_metric_is_a_ratio_of_sums(comparison: Comparison) -> None:
    mean = comparison.headline.results["LoRA"].means["path_slope"].mean
    assert mean == pytest.approx((0 * 1 + 0.5 * 2 + 1.0 * 3) / 6)


def test_metrics_without_a_scorer_have_a_reason(comparison: Comparison) -> None:
    assert comparison.not_run["lpips"] == "not requested"
    assert not set(comparison.not_run) & set(comparison.headline.results["LoRA"].means)
    assert set(comparison.not_run) | set(comparison.headline.results["LoRA"].means) == set(METRICS)


def test_a_wrong_number_of_videos_is_an_error() -> None:
    with pytest.raises(UserError, match="LoRA has 2 videos for 3 seeds"):
        compare(cases(3), {"base": seed_scores((1,)), "LoRA": seed_scores((6, 2))}, seeds=(0, 1, 2))


def test_cached_scores_are_not_computed_again(tmp_path: Path) -> None:
    read: list[str] = []

    def counted(name: str, frames_THWC: Frames) -> Video:
        return Video(lambda: (read.append(name), frames_THWC)[1], f"digest of {name}")

    def candidates() -> dict[str, dict[str, list[Video]]]:
        return {
            name: {case.name: [counted(f"{name} {case.name}", moving_square(int(case.name[:6]), noise=noise))]
                   for case in cases(2)}
            for name, noise in (("base", 9), ("LoRA", 3))
        }  # fmt: skip

    scorer = Weighted()
    first = compare(cases(2), candidates(), scorers=[scorer], score_cache=open_score_cache(tmp_path))
    assert set(read) == {f"{name} {case.name}" for name in ("base", "LoRA") for case in cases(2)}
    read.clear()
    again = compare(cases(2), candidates(), scorers=[scorer], score_cache=open_score_cache(tmp_path))
    assert again == first
    assert read == []
    assert scorer.calls == 6


def test_a_damaged_cached_score_is_an_error(tmp_path: Path) -> None:
    score_cache = open_score_cache(tmp_path)
    assert score_cache.get(["a", None]) is None
    score_cache.put(["a", None], Scores({"psnr_db": 1.0, "ssim": None}))
    assert score_cache.get(["a", None]) == Scores({"psnr_db": 1.0, "ssim": None})
    (path,) = tmp_path.rglob("*.json")
    path.write_text('{"values": {"psnr_db": "NaN"}}')
    with pytest.raises(DataError, match="cached scores cannot be read"):
        score_cache.get(["a", None])


def test_the_table_has_a_row_for_every_video(comparison: Comparison, tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.parquet", comparison)
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert len(rows) == 3 * (2 + 2 + 1 + 1)
    lora = next(row for row in rows if (row["candidate"], row["seed"]) == ("LoRA", 8))
    seed_score = comparison.rows[0].seed_scores["LoRA"][1]
    assert (lora["video"], lora["reference"]) == (seed_score.digest, comparison.rows[0].digest)
    assert lora["psnr_db"] == seed_score.values["psnr_db"]
    assert lora["lpips"] is None


def test_psnr_curves_average_the_squared_error() -> None:
    mean = average_seeds(
        [Scores({"a": 1.0, "b": None}, {"psnr_db": [20.0]}), Scores({"a": 3.0, "b": None}, {"psnr_db": [30.0]})]
    )
    assert mean.values == {"a": 2.0, "b": None}
    assert mean.curves["psnr_db"][0] == pytest.approx(-10 * np.log10((1e-2 + 1e-3) / 2))
