"""Metrics that need training clips, swapped prompts, or several cameras in one picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worldtune.data.clip import Clip
from worldtune.data.video.footage import VideoFootage as Footage
from worldtune.evaluation.cases.case import Frames, video_from_frames
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.evaluation.scoring.cross_view import CrossViewScorer, camera_pairs
from worldtune.evaluation.scoring.gripper_path import build_path_scorer
from worldtune.evaluation.scoring.memorization import MemorizationScorer
from worldtune.evaluation.scoring.pixel_metrics import VideoPair
from worldtune.evaluation.scoring.prompt_sensitivity import PromptScorer, swap_prompts
from worldtune.latents.dataset import LatentClip
from worldtune.latents.store import Entry, LatentStore

from ..clips import cases, features, moving_square
from ..grounds import panned, textured


def pair(generated_THWC: Frames, real_THWC: Frames | None = None, camera: str = "top") -> VideoPair:
    case = replace(cases(1)[0], camera=camera)
    return VideoPair(
        case,
        "LoRA",
        0,
        features(generated_THWC),
        VideoFeatures(case.reference) if real_THWC is None else features(real_THWC),
        None,
    )


def test_a_copy_of_a_training_clip_has_a_low_memorization_ratio() -> None:
    training = [moving_square(seed) for seed in (5, 6, 7)]
    memory = MemorizationScorer([video_from_frames(clip_THWC) for clip_THWC in training])
    assert memory.score(pair(training[1])).values == {"memorization_ratio": 0}
    noisy = memory.score(pair(moving_square(6, noise=4))).values["memorization_ratio"]
    original = memory.score(pair(moving_square(0, noise=4))).values["memorization_ratio"]
    assert noisy is not None
    assert original is not None
    assert noisy < 0.2
    assert original == pytest.approx(1, abs=0.05)


def test_prompt_sensitivity_is_the_rms_distance_to_the_swapped_video() -> None:
    generated, swapped = moving_square(0), moving_square(0, lag=0.5)
    scorer = PromptScorer({("LoRA", cases(1)[0].name, 0): video_from_frames(swapped)})
    distance = scorer.score(pair(generated)).values["prompt_sensitivity"]
    expected = float(np.sqrt(((generated[1:].astype(float) - swapped[1:]) ** 2).mean()))
    assert distance == pytest.approx(expected, rel=1e-5)
    assert scorer.score(pair(swapped)).values["prompt_sensitivity"] == 0
    assert scorer.score(replace(pair(generated), candidate="base")).values["prompt_sensitivity"] is None
    assert scorer.digest != PromptScorer({}).digest


def latent_clip(number: int, task: str) -> LatentClip:
    clip = Clip("s", f"{number}", "top", task, task, Footage(Path("x.mp4")), (0, 1), 16.0, 64, 64, "stretch")
    return LatentClip(clip, Entry(Path("l"), str(number), "l"), Entry(Path("t"), task, task))


def test_swapped_prompts_come_from_the_next_other_task() -> None:
    clips = [latent_clip(0, "open"), latent_clip(1, "open"), latent_clip(2, "close")]
    swapped = swap_prompts(clips)
    assert [clip.text.name for clip in swapped] == ["close", "close", "open"]
    assert [clip.latent for clip in swapped] == [clip.latent for clip in clips]
    assert swap_prompts(clips[:2]) == []


LAYOUT = (("left", "right"), ("wrist", ""))


def tiled(left_THWC: Frames, right_THWC: Frames, wrist_THWC: Frames) -> Frames:
    black = np.zeros_like(left_THWC)
    return np.concatenate([np.concatenate([left_THWC, right_THWC], 2), np.concatenate([wrist_THWC, black], 2)], 1)


def test_cross_view_ratio_rises_for_inconsistent_cameras() -> None:
    moments = [(0, 0), (1, 0), (2, 1), (3, 1)]
    views = [panned(textured(96, 96, seed=4), [(x + dx, y) for x, y in moments]) for dx in (0, 5, 9)]
    real_THWC = tiled(*views)
    scorer = CrossViewScorer(LAYOUT)
    assert scorer.score(pair(real_THWC, real_THWC, "left+right|wrist+")).values == {"cross_view_ratio": 1}
    bent = np.stack([np.roll(views[1][:, :, x], round(4 * np.sin(x / 6)), 1) for x in range(96)], 2)
    torn = scorer.score(pair(tiled(views[0], bent, views[2]), real_THWC, "left+right|wrist+"))
    assert torn.values["cross_view_ratio"] is not None
    assert torn.values["cross_view_ratio"] > 1.5
    assert scorer.score(pair(real_THWC, real_THWC, "top")).values == {"cross_view_ratio": None}
    pairs = camera_pairs(features(real_THWC).gray_THW, LAYOUT)
    assert len(pairs) == 4 * 3
    assert pairs[0][0].shape == (96, 96)


def test_a_missing_path_scorer_has_a_reason(tmp_path: Path) -> None:
    """These reasons are found before a reader is trained."""
    store = LatentStore(tmp_path)
    bare = latent_clip(0, "open")
    known = replace(bare, clip=replace(bare.clip, states=np.zeros((2, 4), np.float32)))
    world = None  # not used
    for clips, columns, reason in (
        ([bare], (0, 1, 2), "the dataset has no states"),
        ([known], (), "the states have no unique x, y and z: use --gripper-columns"),
        ([known], (0, 1, 2), "the held-out clips have no states"),
    ):
        assert build_path_scorer(world, clips, columns, cases(1), store) == reason  # type: ignore[arg-type]
