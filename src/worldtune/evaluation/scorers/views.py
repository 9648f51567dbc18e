"""Do the cameras of a tiled picture show one scene? The Sampson error between them, beside the real video's.

Shape letters: T frames, H height, W width.
"""

from itertools import combinations

import numpy as np

from worldtune.episodes.tiles import Layout, name_of
from worldtune.evaluation.case import Frames
from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.metrics.geometry import PAIRS, Pair, Sampson, sampson, sampson_ratio
from worldtune.evaluation.scoring import Shot
from worldtune.files import digest_json


class CrossView:
    """Of pictures that show the cameras of `layout`."""

    names = ("cross_view_ratio",)

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.digest = digest_json(["cross view", layout])

    def score(self, shot: Shot) -> Scores:
        if shot.case.camera != name_of(self._layout):
            return Scores(dict.fromkeys(self.names))
        mine, real = (film.once(self, self._between) for film in (shot.film, shot.real))
        return Scores({"cross_view_ratio": sampson_ratio(mine, real)})

    def _between(self, film: Film) -> Sampson:
        return sampson(between(film.grey_THW, self._layout))


def between(grey_THW: Frames, layout: Layout) -> list[Pair]:
    """Each two cameras at the same moment, at a few moments spread over the clip."""
    H, W = grey_THW.shape[1] // len(layout), grey_THW.shape[2] // len(layout[0])
    cells = [(r * H, c * W) for r, row in enumerate(layout) for c, camera in enumerate(row) if camera]
    moments = sorted(set(np.linspace(0, len(grey_THW) - 1, PAIRS).round().astype(int).tolist()))
    return [
        (grey_THW[t, y : y + H, x : x + W], grey_THW[t, b : b + H, a : a + W])
        for t in moments
        for (y, x), (b, a) in combinations(cells, 2)
    ]
