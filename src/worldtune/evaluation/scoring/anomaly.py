"""The number of anomalies of a video, relative to real clips of its camera."""

from collections.abc import Sequence

from worldtune.core.files import digest_json
from worldtune.evaluation.cache.score_cache import CLIP_READER, ScoreCache, code_key, get_or_compute
from worldtune.evaluation.cases.case import Video
from worldtune.evaluation.metrics.anomaly import MIN_CLIPS, find_anomalies, fit_normal_ranges, measure_statistics
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.pixel_metrics import VideoPair


class AnomalyScorer:
    """The number of measurements outside the normal range of real clips of the same camera.

    `real_clips` are cameras with videos. The score is None for a camera with too few clips. Measurements of the real
    clips are cached in `score_cache`.
    """

    names = ("anomalies",)

    def __init__(self, real_clips: Sequence[tuple[str, Video]], score_cache: ScoreCache | None = None) -> None:
        cameras: dict[str, list[dict[str, float]]] = {}
        for camera, video in real_clips:
            cameras.setdefault(camera, []).append(_measure_cached(video, score_cache))
        self._normal_ranges = {
            camera: fit_normal_ranges(clips) for camera, clips in cameras.items() if len(clips) >= MIN_CLIPS
        }
        self.digest = digest_json(["unusual", [[camera, video.digest] for camera, video in real_clips]])

    def score(self, pair: VideoPair) -> Scores:
        ranges = self._normal_ranges.get(pair.case.camera)
        if ranges is None:
            return Scores({"anomalies": None})
        return Scores({"anomalies": float(len(find_anomalies(measure_statistics(pair.features), ranges)))})


def _measure_cached(video: Video, score_cache: ScoreCache | None) -> dict[str, float]:
    key = [code_key(__name__, CLIP_READER), "usual", video.digest]
    scores = get_or_compute(score_cache, key, lambda: Scores(dict(measure_statistics(VideoFeatures(video)))))
    return {name: value for name, value in scores.values.items() if value is not None}
