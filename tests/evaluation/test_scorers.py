"""Metrics that need other clips, other prompts, or several cameras in one picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worldtune.episodes.clip import Clip
from worldtune.episodes.footage import Film as Footage
from worldtune.evaluation.case import Frames, held
from worldtune.evaluation.metrics.film import Film
from worldtune.evaluation.scorers.gripper_path import path_scorer
from worldtune.evaluation.scorers.memory import Memory
from worldtune.evaluation.scorers.other_task import OtherTask, with_other_tasks
from worldtune.evaluation.scorers.views import CrossView, between
from worldtune.evaluation.scoring import Shot
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import Entry, LatentStore

from .clips import cases, film, moving_square
from .grounds import panned, textured


def shot(mine_THWC: Frames, real_THWC: Frames | None = None, camera: str = "top") -> Shot:
    case = replace(cases(1)[0], camera=camera)
    return Shot(case, "LoRA", 0, film(mine_THWC), Film(case.reference) if real_THWC is None else film(real_THWC), None)


def test_a_copy_of_a_training_clip_is_near_to_it() -> None:
    training = [moving_square(seed) for seed in (5, 6, 7)]
    memory = Memory([held(clip_THWC) for clip_THWC in training])
    assert memory.score(shot(training[1])).values == {"nearest_training": 0}
    noisy = memory.score(shot(moving_square(6, noise=4))).values["nearest_training"]
    own = memory.score(shot(moving_square(0, noise=4))).values["nearest_training"]
    assert noisy is not None
    assert own is not None
    assert noisy < 0.2
    assert own == pytest.approx(1, abs=0.05)


def test_the_prompt_matters_by_how_far_its_video_is_from_the_others() -> None:
    mine, other = moving_square(0), moving_square(0, lag=0.5)
    scorer = OtherTask({("LoRA", cases(1)[0].name, 0): held(other)})
    moved = scorer.score(shot(mine)).values["prompt_sensitivity"]
    assert moved == pytest.approx(float(np.sqrt(((mine[1:].astype(float) - other[1:]) ** 2).mean())), rel=1e-5)
    assert scorer.score(shot(other)).values["prompt_sensitivity"] == 0
    assert scorer.score(replace(shot(mine), candidate="base")).values["prompt_sensitivity"] is None
    assert scorer.digest != OtherTask({}).digest


def latent_clip(number: int, task: str) -> LatentClip:
    clip = Clip("s", f"{number}", "top", task, task, Footage(Path("x.mp4")), (0, 1), 16.0, 64, 64, "stretch")
    return LatentClip(clip, Entry(Path("l"), str(number), "l"), Entry(Path("t"), task, task))


def test_each_clip_gets_the_text_of_the_next_other_task() -> None:
    clips = [latent_clip(0, "open"), latent_clip(1, "open"), latent_clip(2, "close")]
    swapped = with_other_tasks(clips)
    assert [clip.text.name for clip in swapped] == ["close", "close", "open"]
    assert [clip.latent for clip in swapped] == [clip.latent for clip in clips]
    assert with_other_tasks(clips[:2]) == []


LAYOUT = (("left", "right"), ("wrist", ""))


def tiled(left_THWC: Frames, right_THWC: Frames, wrist_THWC: Frames) -> Frames:
    black = np.zeros_like(left_THWC)
    return np.concatenate([np.concatenate([left_THWC, right_THWC], 2), np.concatenate([wrist_THWC, black], 2)], 1)


def test_cameras_of_one_scene_fit_together_and_of_two_do_not() -> None:
    moments = [(0, 0), (1, 0), (2, 1), (3, 1)]
    views = [panned(textured(96, 96, seed=4), [(x + dx, y) for x, y in moments]) for dx in (0, 5, 9)]
    real_THWC = tiled(*views)
    scorer = CrossView(LAYOUT)
    assert scorer.score(shot(real_THWC, real_THWC, "left+right|wrist+")).values == {"cross_view_ratio": 1}
    bent = np.stack([np.roll(views[1][:, :, x], round(4 * np.sin(x / 6)), 1) for x in range(96)], 2)
    torn = scorer.score(shot(tiled(views[0], bent, views[2]), real_THWC, "left+right|wrist+"))
    assert torn.values["cross_view_ratio"] is not None
    assert torn.values["cross_view_ratio"] > 1.5
    assert scorer.score(shot(real_THWC, real_THWC, "top")).values == {"cross_view_ratio": None}
    pairs = between(film(real_THWC).grey_THW, LAYOUT)
    assert len(pairs) == 4 * 3
    assert pairs[0][0].shape == (96, 96)


def test_why_there_is_no_path_is_said(tmp_path: Path) -> None:
    """What is found out before a reader is trained."""
    store = LatentStore(tmp_path)
    bare = latent_clip(0, "open")
    known = replace(bare, clip=replace(bare.clip, states=np.zeros((2, 4), np.float32)))
    world = None  # never asked
    for clips, columns, said in (
        ([bare], (0, 1, 2), "the dataset has no states"),
        ([known], (), "no one thing among the states has an x, y and z: name its columns by --place"),
        ([known], (0, 1, 2), "the held-out clips have no states"),
    ):
        assert path_scorer(world, clips, columns, cases(1), store) == said  # type: ignore[arg-type]
