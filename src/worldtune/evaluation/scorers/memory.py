"""Is a video only remembered? Its distance to the nearest training clip, beside the real video's.

Shape letters: N clips, T frames, D values of a thumbnail.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from worldtune.evaluation.case import Case, Video
from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.controls import nearest, thumbnails
from worldtune.evaluation.metrics.film import Film, once
from worldtune.evaluation.scoring import Shot
from worldtune.files import digest_json

Thumbnails = npt.NDArray[np.float32]


class Memory:
    """Holds thumbnails of the `training` clips, frame by frame."""

    names = ("nearest_training",)

    def __init__(self, training: Sequence[Video]) -> None:
        self.training = training
        self._clips = [thumbnails(video.read()) for video in training]
        self.digest = digest_json(["memory", [video.digest for video in training]])

    def nearest_to(self, case: Case) -> Video:
        """The training clip that begins most like the case, as a control."""
        return nearest(case, self.training, np.stack([clip_TD[0] for clip_TD in self._clips]))

    def score(self, shot: Shot) -> Scores:
        real = self._distance(_thumbnails(shot.real))
        return Scores({"nearest_training": self._distance(_thumbnails(shot.film)) / real if real > 0 else None})

    def _distance(self, mine_TD: Thumbnails) -> float:
        """Root mean square to the nearest clip, over the frames that both have, in levels."""
        return float(min(_apart(mine_TD, clip_TD) for clip_TD in self._clips))


def _apart(one_TD: Thumbnails, other_TD: Thumbnails) -> float:
    T = min(len(one_TD), len(other_TD))
    return float(np.sqrt(np.square(one_TD[:T] - other_TD[:T]).mean()))


@once
def _thumbnails(film: Film) -> Thumbnails:
    return thumbnails(film.frames_THWC)
