"""Several seeds a case: scores are means over them, kept by what they depend on, and the worst is known."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from worldtune.errors import DataError, UserError
from worldtune.evaluation.case import Frames, Video, held
from worldtune.evaluation.compare import compare
from worldtune.evaluation.comparison import FROZEN, Comparison, Scores
from worldtune.evaluation.kept import kept_scores
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.report.scores_table import write_scores
from worldtune.evaluation.scoring import Shot, apart
from worldtune.evaluation.takes import average

from .clips import cases, moving_square

SEEDS = (7, 8)


class Weighed:
    """A metric whose clips do not count alike; it counts how often it is asked."""

    names = ("path_slope",)
    digest = "weighed"

    def __init__(self) -> None:
        self.asked = 0

    def score(self, shot: Shot) -> Scores:
        self.asked += 1
        number = int(shot.case.name[:6])
        return Scores({"path_slope": 0.5 * number}, weights={"path_slope": 1.0 + number})


def takes(noises: tuple[float, ...]) -> dict[str, list[Video]]:
    return {
        case.name: [held(moving_square(int(case.name[:6]), lag=0.2, noise=noise)) for noise in noises]
        for case in cases(3)
    }


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(
        cases(3), {"base": takes((12, 9)), "LoRA": takes((6, 2)), "old": takes((4,))}, seeds=SEEDS, scorers=[Weighed()]
    )


def test_a_case_is_the_mean_of_its_takes(comparison: Comparison) -> None:
    row = comparison.rows[0]
    both = [take.values["psnr_db"] for take in row.takes["LoRA"]]
    assert [take.seed for take in row.takes["LoRA"]] == list(SEEDS)
    assert row.scores["LoRA"].psnr_db == pytest.approx(np.mean(both))  # type: ignore[arg-type]
    assert len(row.takes[FROZEN]) == len(row.takes["old"]) == 1
    assert comparison.gain("LoRA").n == 3, "a clip counts once, however many seeds it has"


def test_each_take_is_held_against_the_bases_of_its_own_seed(comparison: Comparison) -> None:
    base, lora, name = takes((12, 9)), takes((6, 2)), cases(1)[0].name
    for place, take in enumerate(comparison.rows[0].takes["LoRA"]):
        assert take.values["differs"] == pytest.approx(apart(lora[name][place].read(), base[name][place].read()))
    assert comparison.rows[0].takes["base"][0].values["differs"] is None


def test_diversity_is_the_distance_between_the_seeds(comparison: Comparison) -> None:
    first, second = (video.read() for video in takes((6, 2))[cases(1)[0].name])
    assert comparison.rows[0].scores["LoRA"].values["diversity"] == pytest.approx(apart(first, second))
    assert comparison.rows[0].scores["old"].values["diversity"] is None


def test_the_worst_seed_is_the_one_that_gains_least(comparison: Comparison) -> None:
    row = comparison.rows[0]
    gains = [
        mine.values["psnr_db"] - base.values["psnr_db"]  # type: ignore[operator]
        for mine, base in zip(row.takes["LoRA"], row.takes["base"], strict=True)
    ]
    assert row.worst_take("LoRA", "base") == int(np.argmin(gains))


def test_a_weighted_metric_is_a_ratio_of_sums(comparison: Comparison) -> None:
    mean = comparison.headline.results["LoRA"].means["path_slope"].mean
    assert mean == pytest.approx((0 * 1 + 0.5 * 2 + 1.0 * 3) / 6)


def test_metrics_without_a_scorer_are_named_with_a_reason(comparison: Comparison) -> None:
    assert comparison.not_run["lpips"] == "not asked for"
    assert not set(comparison.not_run) & set(comparison.headline.results["LoRA"].means)
    assert set(comparison.not_run) | set(comparison.headline.results["LoRA"].means) == set(MEASURES)


def test_a_wrong_number_of_videos_is_refused() -> None:
    with pytest.raises(UserError, match="LoRA has 2 videos of it for 3 seeds"):
        compare(cases(3), {"base": takes((1,)), "LoRA": takes((6, 2))}, seeds=(0, 1, 2))


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    read: list[str] = []

    def counted(name: str, frames_THWC: Frames) -> Video:
        return Video(lambda: (read.append(name), frames_THWC)[1], f"digest of {name}")

    def candidates() -> dict[str, dict[str, list[Video]]]:
        return {
            name: {case.name: [counted(f"{name} {case.name}", moving_square(int(case.name[:6]), noise=noise))]
                   for case in cases(2)}
            for name, noise in (("base", 9), ("LoRA", 3))
        }  # fmt: skip

    scorer = Weighed()
    first = compare(cases(2), candidates(), scorers=[scorer], kept=kept_scores(tmp_path))
    assert read
    read.clear()
    again = compare(cases(2), candidates(), scorers=[scorer], kept=kept_scores(tmp_path))
    assert again == first
    assert read == []
    assert scorer.asked == 6


def test_a_damaged_score_is_named(tmp_path: Path) -> None:
    kept = kept_scores(tmp_path)
    assert kept.get(["a", None]) is None
    kept.put(["a", None], Scores({"psnr_db": 1.0, "ssim": None}))
    assert kept.get(["a", None]) == Scores({"psnr_db": 1.0, "ssim": None})
    (path,) = tmp_path.rglob("*.json")
    path.write_text('{"values": {"psnr_db": "NaN"}}')
    with pytest.raises(DataError, match="kept scores cannot be read"):
        kept.get(["a", None])


def test_the_table_has_a_row_for_every_video(comparison: Comparison, tmp_path: Path) -> None:
    write_scores(tmp_path / "scores.parquet", comparison)
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert len(rows) == 3 * (2 + 2 + 1 + 1)
    lora = next(row for row in rows if (row["candidate"], row["seed"]) == ("LoRA", 8))
    take = comparison.rows[0].takes["LoRA"][1]
    assert (lora["video"], lora["reference"]) == (take.digest, comparison.rows[0].digest)
    assert lora["psnr_db"] == take.values["psnr_db"]
    assert lora["lpips"] is None


def test_a_curves_mean_of_psnr_is_that_of_the_error() -> None:
    found = average(
        [Scores({"a": 1.0, "b": None}, {"psnr_db": [20.0]}), Scores({"a": 3.0, "b": None}, {"psnr_db": [30.0]})]
    )
    assert found.values == {"a": 2.0, "b": None}
    assert found.curves["psnr_db"][0] == pytest.approx(-10 * np.log10((1e-2 + 1e-3) / 2))
