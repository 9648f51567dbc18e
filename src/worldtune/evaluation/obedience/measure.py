"""Measure how well a model obeys: wrong actions on held-out clips, and several motions from one start.

Shapes: T frames, D coordinates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from worldtune.core.progress import Progress, silent
from worldtune.core.statistics import MeanEstimate, estimate_mean
from worldtune.data.clip import read_clip
from worldtune.data.same_start import group_starts
from worldtune.errors import DataError
from worldtune.evaluation.cases.case import Frames, Track
from worldtune.evaluation.cases.clip_cases import generate_videos
from worldtune.evaluation.metrics.fidelity import psnr
from worldtune.evaluation.metrics.paths import PathReader, compare_paths
from worldtune.evaluation.obedience.same_start import MotionDifferences, compare_motions, from_one_start
from worldtune.evaluation.obedience.wrong_actions import give_wrong_actions
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.latents.dataset import LatentClip
from worldtune.models.world import World

POSITION = (0, 1, 2)  # state columns of the gripper's x, y and z


@dataclass(frozen=True)
class Follows:
    """How paths in generated videos follow asked paths: correlation, and slope of the end points."""

    correlation: MeanEstimate
    slope: MeanEstimate


@dataclass(frozen=True)
class Obedience:
    """What a model does with actions.

    `own`: held-out clips with their own actions. `wrong`: with another task's, against the path that these led to;
    `chance`: the clips' real paths against the same, as a model that ignores actions would move at best. `motions`:
    differences between several motions of one start. `psnr` of each held-out clip with its own actions, in dB.
    """

    own: Follows
    wrong: Follows
    chance: Follows
    motions: MotionDifferences
    psnr: dict[str, float]


def measure_obedience(
    world: World,
    held_out: Sequence[LatentClip],
    play: Sequence[LatentClip],
    reader: PathReader,
    plan: SamplingPlan,
    progress: Progress = silent,
) -> Obedience:
    """Measure the model on `world`, with its adapter loaded; `play` has several motions from each start.

    Raise DataError if the clips have no actions, one task only, or no start with several motions.
    """
    pairs = give_wrong_actions(held_out, POSITION)
    groups = group_starts([latent.clip for latent in play])
    if not pairs or not groups:
        what = "obedience needs held-out clips of two tasks with actions, and play with several motions from one start"
        raise DataError(what, where=play[0].clip.source if play else "play", hint="Use pocket-play-held-out's form.")
    asked = [latent for group in groups for latent in from_one_start([play[n] for n in group])]
    total = 2 * len(held_out) + len(asked)
    done = 0

    def videos(clips: Sequence[LatentClip]) -> list[Frames]:
        nonlocal done
        made = []
        for _, frames_THWC in generate_videos(world, clips, plan, plan.seeds[0]):
            made.append(frames_THWC)
            done += 1
            progress(done, total, "obedience")
        return made

    real = {latent.clip.name: read_clip(latent.clip) for latent in held_out}
    real_paths = {name: reader.read(frames_THWC) for name, frames_THWC in real.items()}
    own_videos = videos(held_out)
    own = [reader.read(frames_THWC) for frames_THWC in own_videos]
    wrong = [reader.read(frames_THWC) for frames_THWC in videos([latent for latent, _ in pairs])]
    own_real = [real_paths[latent.clip.name] for latent in held_out]
    given_real = [real_paths[other.clip.name] for _, other in pairs]
    names = [latent.clip.episode for latent in held_out]
    motions = iter([reader.read(frames_THWC) for frames_THWC in videos(asked)])
    return Obedience(
        own=_follow(own, own_real, names),
        wrong=_follow(wrong, given_real, names),
        chance=_follow(own_real, given_real, names),
        motions=compare_motions(
            [[next(motions) for _ in group] for group in groups],
            [[reader.read(read_clip(play[n].clip)) for n in group] for group in groups],
            [play[group[0]].clip.name for group in groups],
        ),
        psnr={
            latent.clip.name: psnr(video_THWC, real[latent.clip.name])
            for latent, video_THWC in zip(held_out, own_videos, strict=True)
        },
    )


def _follow(generated: Sequence[Track], asked: Sequence[Track], names: Sequence[str]) -> Follows:
    scores = [compare_paths(path_TD, asked_TD) for path_TD, asked_TD in zip(generated, asked, strict=True)]
    slopes = [score.along / score.square if score.square > 0 else None for score in scores]
    return Follows(
        estimate_mean([score.correlation for score in scores], names),
        estimate_mean(slopes, names, weights=[score.square for score in scores]),
    )
