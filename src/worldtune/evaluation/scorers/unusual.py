"""How much about a video is unusual for its camera, by real clips of it."""

from collections.abc import Sequence

from worldtune.evaluation.case import Video
from worldtune.evaluation.code import code
from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.kept import KeptScores, known_or
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.metrics.unusual import ENOUGH, alarms, measured, usual
from worldtune.evaluation.scoring import Shot
from worldtune.files import digest_json


class Unusual:
    """Knows some real clips, each with its camera. A camera of which there are too few has no value.

    What is `kept` of them is not measured again.
    """

    names = ("alarms",)

    def __init__(self, real: Sequence[tuple[str, Video]], kept: KeptScores | None = None) -> None:
        cameras: dict[str, list[dict[str, float]]] = {}
        for camera, video in real:
            cameras.setdefault(camera, []).append(_measured(video, kept))
        self._usual = {camera: usual(clips) for camera, clips in cameras.items() if len(clips) >= ENOUGH}
        self.digest = digest_json(["unusual", [[camera, video.digest] for camera, video in real]])

    def score(self, shot: Shot) -> Scores:
        ranges = self._usual.get(shot.case.camera)
        return Scores({"alarms": None if ranges is None else float(len(alarms(measured(shot.film), ranges)))})


def _measured(video: Video, kept: KeptScores | None) -> dict[str, float]:
    key = [code(), "usual", video.digest]
    found = known_or(kept, key, lambda: Scores(dict(measured(Film(video)))))
    return {name: value for name, value in found.values.items() if value is not None}
