"""Cross-view consistency: the Sampson error between the cameras of a tiled picture, over the real video's.

Shape letters: T frames, H height, W width.
"""

from itertools import combinations

import numpy as np

from worldtune.core.files import digest_json
from worldtune.data.camera_grid import Layout, grid_name
from worldtune.evaluation.cases.case import Frames
from worldtune.evaluation.metrics.geometry import MAX_PAIRS, Pair, Sampson, measure_sampson, sampson_ratio
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.pixel_metrics import VideoPair


class CrossViewScorer:
    """The cross-view ratio of videos that tile the cameras of `layout`."""

    names = ("cross_view_ratio",)

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.digest = digest_json(["cross view", layout])

    def score(self, pair: VideoPair) -> Scores:
        if pair.case.camera != grid_name(self._layout):
            return Scores(dict.fromkeys(self.names))
        generated, real = (features.compute_once(self, self._measure) for features in (pair.features, pair.real))
        return Scores({"cross_view_ratio": sampson_ratio(generated, real)})

    def _measure(self, features: VideoFeatures) -> Sampson:
        return measure_sampson(camera_pairs(features.gray_THW, self._layout))


def camera_pairs(gray_THW: Frames, layout: Layout) -> list[Pair]:
    """Return all pairs of cameras at the same frame, for a few frames spread over the clip."""
    H, W = gray_THW.shape[1] // len(layout), gray_THW.shape[2] // len(layout[0])
    cells = [(r * H, c * W) for r, row in enumerate(layout) for c, camera in enumerate(row) if camera]
    times = sorted(set(np.linspace(0, len(gray_THW) - 1, MAX_PAIRS).round().astype(int).tolist()))
    return [
        (gray_THW[t, y : y + H, x : x + W], gray_THW[t, b : b + H, a : a + W])
        for t in times
        for (y, x), (b, a) in combinations(cells, 2)
    ]
