"""Where the gripper goes, beside the real video: by a reader trained on the dataset's own frames and states.

Shape letters: C latent channels, T frames, H height, W width, D coordinates.
"""

from collections.abc import Iterator, Sequence

import torch

from worldtune.episodes.clip import content_digest
from worldtune.evaluation.case import Case, Frames, Track
from worldtune.evaluation.code import code
from worldtune.evaluation.comparison import Scores
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.metrics.trajectory import READS, Reader, compare_paths, explained, new_reader, train_reader
from worldtune.evaluation.scoring import Shot
from worldtune.evaluation.suite import recorded
from worldtune.files import digest_json
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.training.data import spread
from worldtune.worlds.world import World

CLIPS = 64  # that a reader is trained on, at most
MILLIMETRES = 1000.0  # a dataset's metre


class GripperPath:
    """Correlation, slope and end point of the path in a video of `domain`. States are taken to be metres."""

    names = ("path_slope", "path_correlation", "end_point_mm")

    def __init__(self, reader: Reader, domain: str, digest: str) -> None:
        self._reader = reader
        self._domain = domain
        self.digest = digest_json(["path", digest])

    def score(self, shot: Shot) -> Scores:
        if shot.case.domain != self._domain:  # another camera, which the reader has not seen
            return Scores(dict.fromkeys(self.names))
        found = compare_paths(*(film.once(self, self._path) for film in (shot.film, shot.real)))
        values: dict[str, float | None] = {
            "path_slope": found.along / found.square if found.square > 0 else None,
            "path_correlation": found.correlation,
            "end_point_mm": found.end_point * MILLIMETRES,
        }
        return Scores(values, weights={"path_slope": found.square})

    def _path(self, film: Film) -> Track:
        return self._reader.read(film.frames_THWC)


def path_scorer(
    world: World, trained_on: Sequence[LatentClip], columns: Sequence[int], cases: Sequence[Case], store: LatentStore
) -> GripperPath | str:
    """The scorer, or why there is none. The reader is kept in the store, by all that it is made from.

    Clips are read as recorded and as they come out of the codec: generated videos come from there too.
    """
    known = [clip for clip in spread(trained_on, CLIPS) if clip.clip.states is not None]
    judged = [(case, path_TD) for case in cases if (path_TD := case.path_TD) is not None]
    if not known:
        return "the dataset has no states"
    if not columns:
        return "no one thing among the states has an x, y and z: name its columns by --place"
    if not judged:
        return "the held-out clips have no states"
    paths = [_path(clip, columns) for clip in known]
    made_from = [[content_digest(clip.clip), clip.latent.sha256] for clip in known]
    key = {"reader": code(), "clips": made_from, "columns": list(columns), "torch": torch.__version__}
    entry = store.find(key)
    if entry is not None:
        reader = new_reader(paths)
        reader.load_vector(load_tensor(entry))
    else:
        reader = train_reader(_frames(world, known), [*paths, *paths])
        store.save(reader.as_vector(), key)
    read = explained(reader, (case.reference.read() for case, _ in judged), [path_TD for _, path_TD in judged])
    if read < READS:
        return f"the reader explains {read:.2f} of the variance of real held-out paths, {READS} are needed"
    return GripperPath(reader, cases[0].domain, digest_json(key))


def _frames(world: World, clips: Sequence[LatentClip]) -> Iterator[Frames]:
    for clip in clips:
        yield recorded(clip.clip).read()
    for clip in clips:
        yield world.decode(load_tensor(clip.latent)[None].to(world.device))[0].cpu().numpy()
    world.release_encoders()


def _path(clip: LatentClip, columns: Sequence[int]) -> Track:
    assert clip.clip.states is not None
    return clip.clip.states[:, list(columns)]
