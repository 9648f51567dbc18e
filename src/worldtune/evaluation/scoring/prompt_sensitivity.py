"""Prompt sensitivity: the distance to the video of the same first frame and noise with another task's prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from worldtune.core.files import digest_json
from worldtune.evaluation.cases.case import Video
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.pixel_metrics import VideoPair, rms_difference
from worldtune.latents.dataset import LatentClip


class PromptScorer:
    """Prompt sensitivity from `videos` with swapped prompts, by candidate, case and seed; None where one is absent."""

    names = ("prompt_sensitivity",)

    def __init__(self, videos: Mapping[tuple[str, str, int], Video]) -> None:
        self._videos = videos
        self.digest = digest_json(["other task", [[*key, video.digest] for key, video in sorted(videos.items())]])

    def score(self, pair: VideoPair) -> Scores:
        swapped = self._videos.get((pair.candidate, pair.case.name, pair.seed))
        distance = None if swapped is None else rms_difference(pair.features.frames_THWC, swapped.read())
        return Scores({"prompt_sensitivity": distance})


def swap_prompts(clips: Sequence[LatentClip]) -> list[LatentClip]:
    """Return each clip with the text of the next clip of another task; [] if a clip has no such other clip."""
    swapped = []
    for index, clip in enumerate(clips):
        rotated = [*clips[index + 1 :], *clips[:index]]
        others = [other for other in rotated if other.clip.task != clip.clip.task and other.text != clip.text]
        if not others:
            return []
        swapped.append(replace(clip, text=others[0].text))
    return swapped
