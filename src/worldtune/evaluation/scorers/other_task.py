"""Does the prompt matter? The distance to the video of the same frame and noise with another task's prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from worldtune.evaluation.case import Video
from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.scoring import Shot, apart
from worldtune.files import digest_json
from worldtune.latents.dataset import LatentClip


class OtherTask:
    """`videos` are those with another prompt, by candidate, case and seed; a candidate without any has no value."""

    names = ("prompt_sensitivity",)

    def __init__(self, videos: Mapping[tuple[str, str, int], Video]) -> None:
        self._videos = videos
        self.digest = digest_json(["other task", [[*key, video.digest] for key, video in sorted(videos.items())]])

    def score(self, shot: Shot) -> Scores:
        other = self._videos.get((shot.candidate, shot.case.name, shot.seed))
        return Scores({"prompt_sensitivity": None if other is None else apart(shot.film.frames_THWC, other.read())})


def with_other_tasks(clips: Sequence[LatentClip]) -> list[LatentClip]:
    """Each clip with the text of the next one of another task; none where all are of one task."""
    swapped = []
    for place, clip in enumerate(clips):
        rotated = [*clips[place + 1 :], *clips[:place]]
        others = [other for other in rotated if other.clip.task != clip.clip.task and other.text != clip.text]
        if not others:
            return []
        swapped.append(replace(clip, text=others[0].text))
    return swapped
