"""Metrics of the gripper's path against the real video, by a reader of paths.

The default reader is a small network trained on the dataset's frames and states.

Shape letters: C latent channels, T frames, H height, W width, D coordinates.
"""

from collections.abc import Iterator, Sequence

import torch

from worldtune.core.files import digest_json
from worldtune.data.clip import content_digest
from worldtune.data.splits.spread import spread
from worldtune.evaluation.cache.score_cache import BASE_LOADER, CLIP_READER, code_key
from worldtune.evaluation.cases.case import Case, Frames, Track
from worldtune.evaluation.cases.clip_cases import recorded_video
from worldtune.evaluation.metrics.paths import MIN_R2, PathReader, ReaderAccuracy, compare_paths, measure_reader
from worldtune.evaluation.metrics.trajectory import make_reader, train_reader
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.scores import EndPoint, Scores
from worldtune.evaluation.scoring.pixel_metrics import VideoPair
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.models.world import World

MAX_CLIPS = 64  # training clips of a reader, at most
MILLIMETERS = 1000.0  # in a meter, the assumed unit of the states


class GripperPathScorer:
    """Slope, correlation and end point of the gripper's path in videos of `domain`, by any reader of paths.

    States are assumed in meters. `digest` is the reader's, and `accuracy` its accuracy on real held-out clips.
    """

    names = ("path_slope", "path_correlation", "end_point_mm")

    def __init__(self, reader: PathReader, domain: str, digest: str, accuracy: ReaderAccuracy) -> None:
        self._reader = reader
        self._domain = domain
        self._reader_error_mm = _in_millimeters(accuracy.end_point_error)
        self.digest = digest_json(["path", digest, self._reader_error_mm])

    def score(self, pair: VideoPair) -> Scores:
        if pair.case.domain != self._domain:  # it may show a camera that the reader was not trained on
            return Scores(dict.fromkeys(self.names))
        path = compare_paths(*(features.compute_once(self, self._read_path) for features in (pair.features, pair.real)))
        values: dict[str, float | None] = {
            "path_slope": path.along / path.square if path.square > 0 else None,
            "path_correlation": path.correlation,
            "end_point_mm": path.end_point * MILLIMETERS,
        }
        end_point = EndPoint(_in_millimeters(path.generated_end), _in_millimeters(path.real_end), self._reader_error_mm)
        return Scores(values, weights={"path_slope": path.square}, end_point=end_point)

    @property
    def reader(self) -> PathReader:
        """The reader of paths."""
        return self._reader

    def _read_path(self, features: VideoFeatures) -> Track:
        return self._reader.read(features.frames_THWC)


def _in_millimeters(point_D: Sequence[float]) -> list[float]:
    return [coordinate * MILLIMETERS for coordinate in point_D]


def build_path_scorer(
    world: World, trained_on: Sequence[LatentClip], columns: Sequence[int], cases: Sequence[Case], store: LatentStore
) -> GripperPathScorer | str:
    """Return the scorer, or the reason why there is none. The reader is cached in `store`.

    The reader is trained on the recorded clips and on their codec round trips, because generated videos are decoded by
    the same codec.
    """
    with_states = [clip for clip in spread(trained_on, MAX_CLIPS) if clip.clip.states is not None]
    if not with_states:
        return "the dataset has no states"
    if not columns:
        return "the states have no unique x, y and z: use --gripper-columns"
    if all(case.path_TD is None for case in cases):
        return "the held-out clips have no states"
    paths = [_gripper_path(clip, columns) for clip in with_states]
    inputs = [[content_digest(clip.clip), clip.latent.sha256] for clip in with_states]
    code = code_key(__name__, BASE_LOADER, CLIP_READER)
    key = {"reader": code, "clips": inputs, "columns": list(columns), "torch": torch.__version__}
    entry = store.find(key)
    if entry is not None:
        reader = make_reader(paths)
        reader.load_vector(load_tensor(entry))
    else:
        reader = train_reader(_training_frames(world, with_states), [*paths, *paths])
        store.save(reader.as_vector(), key)
    return make_path_scorer(reader, cases, digest_json(key))


def make_path_scorer(reader: PathReader, cases: Sequence[Case], digest: str) -> GripperPathScorer | str:
    """Return the scorer of a reader, or the reason why there is none: it must read real held-out clips well.

    `digest` covers everything that the reader's paths depend on, except the video. At least one case has a path.
    """
    known = [(case.reference, path_TD) for case in cases if (path_TD := case.path_TD) is not None]
    accuracy = measure_reader(reader, (video.read() for video, _ in known), [path_TD for _, path_TD in known])
    if accuracy.r2 < MIN_R2:
        what = f"the path reader explains only {accuracy.r2:.2f} of the variance of real held-out paths"
        return f"{what}, less than {MIN_R2}"
    return GripperPathScorer(reader, cases[0].domain, digest, accuracy)


def _training_frames(world: World, clips: Sequence[LatentClip]) -> Iterator[Frames]:
    for clip in clips:
        yield recorded_video(clip.clip).read()
    for clip in clips:
        yield world.decode(load_tensor(clip.latent)[None].to(world.device))[0].cpu().numpy()
    world.release_encoders()


def _gripper_path(clip: LatentClip, columns: Sequence[int]) -> Track:
    assert clip.clip.states is not None
    return clip.clip.states[:, list(columns)]
