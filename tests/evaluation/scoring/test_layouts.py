"""Metrics across clips in a comparison: slope of end points about their mean, and error over the spread."""

import math
from dataclasses import replace

import numpy as np
import pytest

from worldtune.core.statistics import estimate_mean
from worldtune.errors import DataError
from worldtune.evaluation.cases.case import Case, Frames, Track, Video, video_from_frames
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.comparison.recompute import check_comparison, recompute
from worldtune.evaluation.metrics.end_points import end_point_statistics
from worldtune.evaluation.metrics.paths import ReaderAccuracy
from worldtune.evaluation.report.verdict import remarks
from worldtune.evaluation.results import CaseRow, Comparison
from worldtune.evaluation.scores import EndPoint, Scores
from worldtune.evaluation.scoring.gripper_path import GripperPathScorer, make_path_scorer
from worldtune.evaluation.scoring.layouts import MIN_SPREAD, score_across_cases
from worldtune.evaluation.scoring.metric_definitions import ACROSS_CASES

DOMAIN = "cell"
SHARED_MM = np.array([300.0, -200, 100])


class PixelReader:
    """A reader that finds the position, in mm, in the first three pixels of each frame. It returns meters."""

    def read(self, frames_THWC: Frames, /) -> Track:
        position_T3 = frames_THWC[:, 0, :3, :].astype(np.int64) @ [1, 256, 65536]
        return (position_T3 / 1000 - 500).astype(np.float32)


def film(end_mm: np.ndarray) -> Video:
    """Return a video of three frames in which the hand moves from 0 to the end point."""
    frames_THWC = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    for t, share in enumerate((0, 0.5, 1)):
        levels_3 = np.round((share * end_mm / 1000 + 500) * 1000).astype(np.int64)
        frames_THWC[t, 0, :3] = np.stack([levels_3 % 256, levels_3 // 256 % 256, levels_3 // 65536], -1)
    return video_from_frames(frames_THWC)


def real_ends(count: int = 12) -> np.ndarray:
    """Return end points (count, 3) in whole mm: z varies by less than the reader's error."""
    return SHARED_MM + (np.random.default_rng(1).standard_normal((count, 3)) * [60, 30, 2]).round()


def make_cases(ends_mm: np.ndarray) -> list[Case]:
    return [
        Case(f"{index}", f"{index}", f"task {index % 2}", "top", "", film(end_mm), DOMAIN)
        for index, end_mm in enumerate(ends_mm)
    ]


def pulled(ends_mm: np.ndarray, share: float) -> np.ndarray:
    """Return end points whose deviation from the mean of their task is scaled by `share`, in whole mm."""
    found = ends_mm.copy()
    for task in (0, 1):
        mean = ends_mm[task::2].mean(0)
        found[task::2] = mean + share * (ends_mm[task::2] - mean)
    return found.round()


def scorer() -> GripperPathScorer:
    return GripperPathScorer(PixelReader(), DOMAIN, "pixels", ReaderAccuracy(1.0, (0.002, 0.002, 0.002)))


def videos_of(ends_mm: np.ndarray) -> dict[str, list[Video]]:
    return {str(index): [film(end_mm)] for index, end_mm in enumerate(ends_mm)}


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    ends_mm = real_ends()
    seeds = [pulled(ends_mm, share) for share in (0.5, 0.7)]
    two_seeds = {str(i): [film(seeds[0][i]), film(seeds[1][i])] for i in range(len(ends_mm))}
    candidates = {"base": videos_of(pulled(ends_mm, 0.2)), "LoRA": two_seeds, "perfect": videos_of(ends_mm)}
    candidates["pulled"] = candidates["base"]
    return compare(make_cases(ends_mm), candidates, seeds=(0, 1), baselines=[], scorers=[scorer()])


def test_the_mean_over_clips_is_the_slope_about_the_mean_of_each_task(comparison: Comparison) -> None:
    ends_mm = real_ends()
    groups = [str(index % 2) for index in range(len(ends_mm))]
    base = comparison.headline.results["base"].means
    expected = end_point_statistics(pulled(ends_mm, 0.2), ends_mm, groups, MIN_SPREAD * 2)
    assert base["end_point_slope"].mean == pytest.approx(expected.slope, rel=1e-4)
    assert base["end_point_slope"].mean == pytest.approx(0.2, abs=0.02)
    assert base["path_slope"].mean is not None
    assert base["path_slope"].mean > 0.95, "the slope of displacements does not see it"
    assert base["end_point_over_spread"].mean == pytest.approx(expected.error_over_spread, rel=1e-4)
    assert [base[f"end_point_slope_{axis}"].mean for axis in "xy"] == pytest.approx([0.2, 0.2], abs=0.03)
    assert expected.slope_by_axis[2] is None
    assert base["end_point_slope_z"].mean is None
    perfect = comparison.headline.results["perfect"].means
    assert (perfect["end_point_slope"].mean, perfect["end_point_over_spread"].mean) == (1, 0)
    frozen = comparison.headline.results["first frame frozen"].means
    assert frozen["end_point_slope"].mean == pytest.approx(0)


def test_several_seeds_are_averaged(comparison: Comparison) -> None:
    means = comparison.headline.results["LoRA"].means
    assert means["end_point_slope"].mean == pytest.approx(0.6, abs=0.02)
    assert means["end_point_over_spread"].mean == pytest.approx(0.4 * np.sqrt(5 / 6), abs=0.02)
    assert not set(ACROSS_CASES) & set(comparison.rows[0].seed_scores["LoRA"][0].values)


def test_groups_by_task_use_the_same_values(comparison: Comparison) -> None:
    ends_mm = real_ends()
    for task, group in enumerate(comparison.tasks):
        true_ND = ends_mm[task::2]
        expected = end_point_statistics(pulled(ends_mm, 0.2)[task::2], true_ND, ["a"] * 6, MIN_SPREAD * 2)
        assert group.results["base"].means["end_point_slope"].mean == pytest.approx(expected.slope, rel=1e-4)


def test_candidates_are_compared_by_the_distance_from_1(comparison: Comparison) -> None:
    gain = comparison.gain("LoRA", "end_point_slope")
    assert gain.verdict == "better"
    assert gain.mean == pytest.approx(0.4, abs=0.03)
    assert comparison.gain("perfect", "end_point_over_spread").verdict == "better"


def test_results_are_recomputed_from_the_end_points(comparison: Comparison) -> None:
    assert recompute(comparison) == comparison
    check_comparison(comparison, "results.json")


def test_the_remarks_say_how_much_end_points_differ(comparison: Comparison) -> None:
    (statement,) = [remark for remark in remarks(comparison, "LoRA") if "end points" in remark.text]
    assert statement.text.startswith("Its end points differ between a task's clips 0.6")
    assert "times as much as the real ones, in the same direction (1.00 is right; the base: 0.2" in statement.text
    assert statement.text.endswith("and their error is 0.36 of the real ones' spread.")
    assert statement.tone == "good"
    (statement,) = [remark for remark in remarks(comparison, "pulled") if "end points" in remark.text]
    assert statement.tone == "bad"


def replace_scores(comparison: Comparison, clip: int, candidate: str, scores: Scores) -> Comparison:
    rows: list[CaseRow] = list(comparison.rows)
    rows[clip] = replace(rows[clip], scores=rows[clip].scores | {candidate: scores})
    return replace(comparison, rows=rows)


def test_changed_scores_across_clips_are_rejected(comparison: Comparison) -> None:
    scores = comparison.rows[3].scores["LoRA"]
    assert scores.end_point is not None
    changed = replace(scores, values=scores.values | {"end_point_slope": 1.0})
    with pytest.raises(DataError, match=r"rows.3.scores.LoRA.values.end_point_slope is 1.0, expected 0\."):
        check_comparison(replace_scores(comparison, 3, "LoRA", changed), "results.json")
    for end_point, message in (
        (None, "3: a candidate has no end point"),
        (replace(scores.end_point, generated=[1.0]), "3: an end point has not three coordinates"),
        (replace(scores.end_point, real=[1.0, 2.0, 3.0]), "3: candidates differ in the real end point"),
        (
            replace(scores.end_point, generated=[1.0, 2.0, 3.0]),
            "contradict their own scores: rows.1",
        ),  # its task's first
    ):
        with pytest.raises(DataError, match=message):
            check_comparison(replace_scores(comparison, 3, "LoRA", replace(scores, end_point=end_point)), "r.json")


def scores_at(generated: list[float], real: list[float], noise: float = 0.0) -> Scores:
    return Scores({"end_point_mm": math.dist(generated, real)}, end_point=EndPoint(generated, real, [noise] * 3))


def across(scores: list[Scores], episodes: list[str] | None = None) -> list[dict[str, float | None]]:
    found = score_across_cases(scores, ["a"] * len(scores), episodes or [str(i) for i in range(len(scores))])
    return [clip.values for clip in found]


def test_a_task_with_a_single_clip_or_episode_has_no_value() -> None:
    first, second = scores_at([1, 0, 0], [2, 0, 0]), scores_at([3, 0, 0], [6, 0, 0])
    assert across([first])[0] == {"end_point_mm": 1, **dict.fromkeys(ACROSS_CASES)}
    assert across([first, second], ["same", "same"])[0]["end_point_slope"] is None
    assert across([first, second])[0]["end_point_slope"] == 0.5
    assert across([first, Scores({"end_point_mm": None})])[0]["end_point_slope"] is None


def test_a_clip_at_the_mean_keeps_its_error() -> None:
    scores = [scores_at([x, 8, 0], [x, 0, 0]) for x in (-10.0, 0, 10)]
    found = score_across_cases(scores, ["a"] * 3, ["1", "2", "3"])
    ratio = sum(
        clip.values["end_point_over_spread"] * clip.weights["end_point_over_spread"]  # type: ignore[operator]
        for clip in found
    ) / sum(clip.weights["end_point_over_spread"] for clip in found)
    assert ratio == pytest.approx(24 / (20 * np.sqrt(3 / 2)))
    assert found[1].values["end_point_slope"] is None, "it has no deviation"


def test_layouts_that_the_reader_cannot_tell_apart_have_no_value() -> None:
    scores = [scores_at([x, 0, 0], [x, 0, 0], noise=10) for x in (-10.0, 10)]
    assert across(scores)[0]["end_point_over_spread"] is None, "a spread of √2 of the noise is needed"
    assert across([scores_at([x, 0, 0], [x, 0, 0], noise=7) for x in (-10.0, 10)])[0]["end_point_over_spread"] == 0


@pytest.mark.parametrize("tasks", [1, 4, 8])
def test_intervals_cover_the_population(tasks: int) -> None:
    """The bootstrap holds the means of the tasks fixed. With few and many tasks the coverage is about 95 %."""
    rng, trials = np.random.default_rng(0), 150
    groups, episodes = [index % tasks for index in range(24)], [str(index) for index in range(24)]
    truth = {"end_point_slope": 0.7, "end_point_over_spread": math.hypot(0.3 * 50, 25) / 50}
    covered = dict.fromkeys(truth, 0)
    for _ in range(trials):
        real_ND = 50 * rng.standard_normal((24, 3))
        read_ND = 0.7 * real_ND + 25 * rng.standard_normal((24, 3))
        scores = [scores_at(read.tolist(), real.tolist()) for read, real in zip(read_ND, real_ND, strict=True)]
        found = score_across_cases(scores, groups, episodes)
        for metric, expected in truth.items():
            values, weights = [clip.values[metric] for clip in found], [clip.weights[metric] for clip in found]
            interval = estimate_mean(values, episodes, weights=weights, estimated=1 + tasks)
            assert interval.low is not None
            assert interval.high is not None
            covered[metric] += interval.low <= expected <= interval.high
    assert all(0.9 <= count / trials <= 0.99 for count in covered.values()), covered


def test_a_scorer_takes_any_reader_that_reads_real_clips_well() -> None:
    ends_mm = real_ends()
    known = [replace(case, path_TD=PixelReader().read(case.reference.read())) for case in make_cases(ends_mm)]
    assert isinstance(make_path_scorer(PixelReader(), known, "pixels"), GripperPathScorer)
    why = make_path_scorer(PixelReader(), [replace(case, path_TD=-case.path_TD) for case in known], "pixels")  # type: ignore[operator]
    assert isinstance(why, str)
    assert "of the variance of real held-out paths" in why
