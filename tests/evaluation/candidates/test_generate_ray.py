"""Actors of a Ray cluster generate the same videos as this process."""

from pathlib import Path

import numpy as np
import pytest

from support.adapters import SPECS, make_card, train_by_hand
from support.films import write_square_dataset
from support.progress import Recorded
from support.training import small_data, small_recipe
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.errors import DataError
from worldtune.evaluation.cache.video_cache import VideoCache
from worldtune.evaluation.candidates.generate_ray import Cluster
from worldtune.evaluation.candidates.video_generator import CandidateModel, VideoGenerator
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.models.load import open_world

pytest.importorskip("ray")


@pytest.mark.slow
def test_a_cluster_generates_only_missing_videos(tiny_world: Path, tmp_path: Path) -> None:
    world = open_world(str(tiny_world))
    films = write_square_dataset(tmp_path / "data", 12)
    clips = small_data(world, small_recipe(tiny_world, films), tmp_path / "store").train
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    plan = SamplingPlan(steps=2, seeds=(0, 1))
    here, there = (VideoGenerator(plan, VideoCache(tmp_path / name)) for name in ("here", "there"))
    models = [CandidateModel("base"), CandidateModel("LoRA", tmp_path / "adapter")]
    there.generate(world, models[0], clips[:2])
    jobs = [(model, there.missing_clips(world, model, clips)) for model in models]
    assert [len(missing) for _, missing in jobs] == [len(clips) - 2, len(clips)]
    progress = Recorded()
    Cluster.from_world(world, 1).generate(there, jobs, progress)
    total = 2 * (2 * len(clips) - 2)
    assert progress.counts == [(done, total) for done in range(1, total + 1)]
    for model in models:
        assert there.missing_clips(world, model, clips) == []
        local, remote = here.generate(world, model, clips), there.generate(world, model, clips)
        for name, videos in local.items():
            for video, remote_video in zip(videos, remote[name], strict=True):
                assert np.abs(video.read().astype(int) - remote_video.read()).max() <= 1  # the batch affects rounding


@pytest.mark.slow
def test_an_error_in_an_actor_is_raised_here(tiny_world: Path, tmp_path: Path) -> None:
    world = open_world(str(tiny_world))
    films = write_square_dataset(tmp_path / "data", 4)
    clips = small_data(world, small_recipe(tiny_world, films), tmp_path / "store").train[:1]
    generator = VideoGenerator(SamplingPlan(steps=1), VideoCache(tmp_path / "videos"))
    with pytest.raises(DataError, match=r"no adapter\.json"):
        Cluster.from_world(world, 1).generate(generator, [(CandidateModel("gone", tmp_path), clips)])
