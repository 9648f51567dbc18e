"""Obedience as a metric: the correlation of the gripper's path with the path of the clip whose actions were given."""

from collections.abc import Mapping, Sequence

from worldtune.adapters.actions import owns_embedders
from worldtune.adapters.card import read_card
from worldtune.core.files import digest_json
from worldtune.evaluation.candidates.candidate import AdapterFolder, Candidate
from worldtune.evaluation.candidates.video_generator import CandidateModel, VideoGenerator
from worldtune.evaluation.cases.case import Frames, Track, Video
from worldtune.evaluation.cases.clip_cases import recorded_video
from worldtune.evaluation.cases.held_out import Suite
from worldtune.evaluation.metrics.paths import compare_paths
from worldtune.evaluation.obedience.wrong_actions import give_wrong_actions
from worldtune.evaluation.scores import Scores
from worldtune.evaluation.scoring.gripper_path import GripperPathScorer
from worldtune.evaluation.scoring.pixel_metrics import Scorer, VideoPair
from worldtune.models.world import World


class WrongActionScorer:
    """The correlation of the path in each of `videos`, made with another clip's actions, with that clip's real path.

    `videos` are by candidate, case and seed; `asked` are the recorded videos of the other clips, by case.
    """

    names = ("wrong_action_correlation",)

    def __init__(
        self, path: GripperPathScorer, videos: Mapping[tuple[str, str, int], Video], asked: Mapping[str, Video]
    ) -> None:
        self._path, self._videos, self._asked = path, videos, asked
        keys = [[*key, video.digest] for key, video in sorted(videos.items())]
        self.digest = digest_json(["wrong actions", path.digest, keys, {k: v.digest for k, v in asked.items()}])

    def score(self, pair: VideoPair) -> Scores:
        video = self._videos.get((pair.candidate, pair.case.name, pair.seed))
        if video is None:
            return Scores({"wrong_action_correlation": None})
        paths = (self._read(video.read()), self._read(self._asked[pair.case.name].read()))
        return Scores({"wrong_action_correlation": compare_paths(*paths).correlation})

    def _read(self, frames_THWC: Frames) -> Track:
        return self._path.reader.read(frames_THWC)


def wrong_action_scorer(
    world: World,
    suite: Suite,
    candidates: Mapping[str, Candidate],
    generator: VideoGenerator,
    scorers: Sequence[Scorer],
) -> WrongActionScorer | str:
    """Generate each held-out clip of the first run with wrong actions, by every candidate that reads actions.

    Return the scorer, or the reason why there is none.
    """
    models = [
        CandidateModel(name, candidate.path, candidate.card)
        for name, candidate in candidates.items()
        if isinstance(candidate, AdapterFolder) and read_card(candidate.path, candidate.card).actions is not None
    ]
    models += [CandidateModel("base")] if owns_embedders(world.denoiser) else []
    if not models:
        return "no candidate reads actions"
    path = next((scorer for scorer in scorers if isinstance(scorer, GripperPathScorer)), None)
    if path is None:
        return "the gripper's path cannot be read from these videos"
    pairs = give_wrong_actions(suite.clips[: len(suite.headline)], suite.columns)
    if not pairs:
        return "more than half of the held-out clips have the same task, or some have no actions or states"
    videos = {
        (model.name, case, seed): video
        for model in models
        for case, made in generator.generate(world, model, [clip for clip, _ in pairs]).items()
        for seed, video in zip(generator.plan.seeds, made, strict=True)
    }
    return WrongActionScorer(path, videos, {clip.clip.name: recorded_video(other.clip) for clip, other in pairs})
