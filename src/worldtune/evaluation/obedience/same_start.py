"""Several motions from one start: what the actions change, when everything else is the same.

Shapes: T frames, D coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from worldtune.core.statistics import MeanEstimate, estimate_mean
from worldtune.evaluation.cases.case import Track
from worldtune.evaluation.metrics.paths import compare_paths
from worldtune.latents.dataset import LatentClip


def from_one_start(clips: Sequence[LatentClip]) -> list[LatentClip]:
    """Return the first of some clips of one start once for each clip, with that clip's actions.

    Its videos begin with the same frame, state, prompt and noise, so that they differ by their actions alone.
    """
    first = clips[0]
    return [replace(first, clip=replace(first.clip, actions=latent.clip.actions)) for latent in clips]


@dataclass(frozen=True)
class MotionDifferences:
    """The differences between the paths of two motions from one start, generated against real, over all pairs.

    The slope is 1 and the correlation near 1 for a model that obeys, both 0 for one that ignores actions.
    """

    slope: MeanEstimate
    correlation: MeanEstimate
    pairs: int


def compare_motions(
    generated: Sequence[Sequence[Track]], real: Sequence[Sequence[Track]], starts: Sequence[str]
) -> MotionDifferences:
    """Compare the paths of the motions of each start, relative to their first point; whole starts are resampled."""
    scores, names = [], []
    for generated_paths, real_paths, start in zip(generated, real, starts, strict=True):
        for a, b in combinations(range(len(real_paths)), 2):
            differences = (_relative(paths[a]) - _relative(paths[b]) for paths in (generated_paths, real_paths))
            scores.append(compare_paths(*differences))
            names.append(start)
    slopes = [score.along / score.square if score.square > 0 else None for score in scores]
    return MotionDifferences(
        estimate_mean(slopes, names, weights=[score.square for score in scores]),
        estimate_mean([score.correlation for score in scores], names),
        len(scores),
    )


def _relative(path_TD: Track) -> Track:
    return path_TD - path_TD[:1]
