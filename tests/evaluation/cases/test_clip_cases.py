"""Held-out clips as cases, and videos generated from their first frames."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from support.progress import Recorded
from worldtune.data.clip import read_clip
from worldtune.errors import DataError
from worldtune.evaluation.cases.clip_cases import generate_image2world, make_cases
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.latents.dataset import LatentClip
from worldtune.models.world import World

PLAN = SamplingPlan(steps=2)


def test_a_case_has_the_recorded_video_as_reference(clips: list[LatentClip]) -> None:
    cases = make_cases(clips, "held-out")
    assert [case.name for case in cases] == [clip.clip.name for clip in clips]
    assert all(np.array_equal(case.reference.read(), read_clip(c.clip)) for case, c in zip(cases, clips, strict=True))
    assert {case.prompt for case in cases} == {"the square goes right", "the square goes down"}
    assert len({case.reference.digest for case in cases}) == len(cases)


def test_the_path_is_read_from_columns_of_the_states(clips: list[LatentClip]) -> None:
    states_TS = np.arange(9 * 5, dtype=np.float32).reshape(9, 5)
    known = replace(clips[0], clip=replace(clips[0].clip, states=states_TS))
    unknown = replace(clips[1], clip=replace(clips[1].clip, states=None))
    (case, without) = make_cases([known, unknown], "held-out", columns=(0, 3))
    assert case.path_TD is not None
    assert np.array_equal(case.path_TD, states_TS[:, [0, 3]])
    assert without.path_TD is None


def test_a_clip_is_generated_from_its_own_first_frame(world: World, clips: list[LatentClip]) -> None:
    progress = Recorded()
    videos = generate_image2world(world, clips, PLAN, progress)
    assert list(videos) == [clip.clip.name for clip in clips]
    assert progress.counts == [(done, 9) for done in range(1, 10)]
    seen = {clip.clip.name: world.decode(world.encode(recorded(clip))[:, :, :1])[0].numpy() for clip in clips}
    for name, frames_THWC in videos.items():
        assert frames_THWC.shape == (9, 32, 32, 3)
        assert np.abs(frames_THWC[0].astype(int) - seen[name][0]).max() <= 3


def test_noise_depends_on_the_clips_content_and_the_seed(world: World, clips: list[LatentClip]) -> None:
    whole = generate_image2world(world, clips, PLAN)
    few = generate_image2world(world, clips[2:5], PLAN)
    for name, frames_THWC in few.items():
        assert np.abs(frames_THWC.astype(int) - whole[name]).max() <= 1  # the batch affects rounding
    alike = replace(clips[0], clip=replace(clips[0].clip, sha256=("another file",)))
    (other,) = generate_image2world(world, [alike], PLAN).values()
    assert np.abs(other.astype(int) - whole[clips[0].clip.name]).max() > 10
    reseeded = generate_image2world(world, clips[2:5], SamplingPlan(steps=2, seeds=(1,)))
    assert all(not np.array_equal(frames_THWC, reseeded[name]) for name, frames_THWC in few.items())


def test_nan_in_a_generated_video_is_an_error(world: World, clips: list[LatentClip]) -> None:
    weight = world.denoiser.proj_out.weight
    original = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[0, 0] = torch.nan
        with pytest.raises(DataError, match="NaN"):
            generate_image2world(world, clips[:1], PLAN)
    finally:
        with torch.no_grad():
            weight.copy_(original)


def recorded(clip: LatentClip) -> torch.Tensor:
    return torch.from_numpy(read_clip(clip.clip))[None]
