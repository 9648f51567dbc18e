"""Score the videos of a case: each candidate's video for each seed, against the real one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from worldtune.core.files import digest_json
from worldtune.errors import UserError
from worldtune.evaluation.cache.score_cache import CLIP_READER, ScoreCache, code_key, get_or_compute
from worldtune.evaluation.candidates import baselines
from worldtune.evaluation.cases.case import Case, Frames, Video
from worldtune.evaluation.metrics.fidelity import PEAK, psnr_from_mse
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.results import CaseRow, SeedScore, select_seed
from worldtune.evaluation.scores import EndPoint, Scores, joined
from worldtune.evaluation.scoring.pixel_metrics import Scorer, VideoPair, diversity


@dataclass(frozen=True, eq=False)
class Scoring:
    """The scorers, the seeds, the name of the base candidate, and the score cache."""

    scorers: Sequence[Scorer]
    seeds: Sequence[int]
    base: str
    score_cache: ScoreCache | None


def score_case(case: Case, videos: Mapping[str, Sequence[Video]], scoring: Scoring) -> CaseRow:
    """Return the row of a case from each candidate's videos. Raise UserError if a video differs from the real one in
    shape.
    """
    real = VideoFeatures(case.reference)
    seed_scores: dict[str, list[Scores]] = {}
    for candidate, candidate_videos in videos.items():
        seed_scores[candidate] = [
            _score_pair(_make_pair(case, candidate, index, videos, real, scoring), scoring)
            for index in range(len(candidate_videos))
        ]
    scores = {name: average_seeds(candidate_scores) for name, candidate_scores in seed_scores.items()}
    if len(scoring.seeds) > 1:
        for name, candidate_videos in videos.items():
            scores[name].values["diversity"] = _diversity(candidate_videos, scoring)
    frames, height, width = real.frames_THWC.shape[:3]
    return CaseRow(
        name=case.name,
        episode=case.episode,
        task=case.task,
        camera=case.camera,
        domain=case.domain,
        prompt=case.prompt,
        frames=frames,
        height=height,
        width=width,
        digest=case.reference.digest,
        scores=scores,
        seed_scores={
            name: [
                SeedScore(seed, video.digest, video_scores.values)
                for seed, video, video_scores in zip(scoring.seeds, videos[name], candidate_scores, strict=False)
            ]
            for name, candidate_scores in seed_scores.items()
        },
    )


def average_seeds(seed_scores: Sequence[Scores]) -> Scores:
    """Return the means over the seeds at which a metric applies. Curves of PSNR average the squared error."""
    first = seed_scores[0]
    return Scores(
        {name: _mean([seed_score.values[name] for seed_score in seed_scores]) for name in first.values},
        {name: pool_curves(name, [seed_score.curves[name] for seed_score in seed_scores]) for name in first.curves},
        {name: float(np.mean([seed_score.weights[name] for seed_score in seed_scores])) for name in first.weights},
        _average_end_points([seed_score.end_point for seed_score in seed_scores]),
    )


def pool_curves(curve: str, clips: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean at each frame 1..T-1 over the clips that are long enough. PSNR averages the squared error."""
    length = max(map(len, clips))
    reached = [[clip[t] for clip in clips if t < len(clip)] for t in range(length)]
    if curve != "psnr_db":
        return [float(np.mean(at_frame)) for at_frame in reached]
    return [psnr_from_mse(float(np.mean([PEAK**2 / 10 ** (db / 10) for db in at_frame]))) for at_frame in reached]


def _average_end_points(end_points: Sequence[EndPoint | None]) -> EndPoint | None:
    """Return the mean of the generated end points; None if a seed has none."""
    known = [end_point for end_point in end_points if end_point is not None]
    if not known or len(known) < len(end_points):
        return None
    generated_D = np.mean([end_point.generated for end_point in known], axis=0)
    return replace(known[0], generated=generated_D.tolist())


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _make_pair(
    case: Case, candidate: str, index: int, videos: Mapping[str, Sequence[Video]], real: VideoFeatures, scoring: Scoring
) -> VideoPair:
    base = None if candidate == scoring.base else select_seed(videos[scoring.base], index)
    features = VideoFeatures(_check_shape(videos[candidate][index], real, f"case {case.name}, candidate {candidate}"))
    return VideoPair(case, candidate, scoring.seeds[index], features, real, base)


def _check_shape(video: Video, real: VideoFeatures, where: str) -> Video:
    def source() -> Frames:
        frames_THWC, expected = video.read(), real.frames_THWC.shape
        if frames_THWC.shape != expected:
            raise UserError(
                f"shape {frames_THWC.shape} differs from the reference's {expected}",
                where=where,
                hint="Generate with the frames, height and width of the held-out clip.",
            )
        return frames_THWC

    return Video(source, video.digest, where)


def _score_pair(pair: VideoPair, scoring: Scoring) -> Scores:
    """Return the scores of all scorers as one."""
    return joined([_score_cached(scorer, pair, scoring.score_cache) for scorer in scoring.scorers])


def _score_cached(scorer: Scorer, pair: VideoPair, score_cache: ScoreCache | None) -> Scores:
    if score_cache is None or not scorer.digest:  # an empty digest: the scorer caches its own results
        return scorer.score(pair)
    videos = [pair.features.video.digest, pair.real.video.digest, pair.base.digest if pair.base else None]
    code = code_key(__name__, type(scorer).__module__, baselines.__name__, CLIP_READER)
    return get_or_compute(score_cache, [code, scorer.digest, *videos], lambda: scorer.score(pair))


def _diversity(videos: Sequence[Video], scoring: Scoring) -> float | None:
    if len(videos) < 2:
        return None
    key = [code_key(__name__, CLIP_READER), "diversity", digest_json([video.digest for video in videos])]
    scores = get_or_compute(
        scoring.score_cache, key, lambda: Scores({"diversity": diversity([video.read() for video in videos])})
    )
    return scores.values["diversity"]
