"""Videos made by actors of a Ray cluster are those that are made here."""

from pathlib import Path

import numpy as np
import pytest

from support.adapters import SPECS, make_card, train_by_hand
from support.films import write_films
from support.training import small_data, small_recipe
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.errors import DataError
from worldtune.evaluation.generated import Maker, Model
from worldtune.evaluation.kept_films import KeptFilms
from worldtune.evaluation.on_ray import Cluster
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.worlds.load import open_world

pytest.importorskip("ray")


@pytest.mark.slow
def test_a_cluster_makes_what_is_lacking_and_nothing_else(tiny_world: Path, tmp_path: Path) -> None:
    world = open_world(str(tiny_world))
    films = write_films(tmp_path / "data", 12)
    clips = small_data(world, small_recipe(tiny_world, films), tmp_path / "store").train
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    plan = SamplingPlan(steps=2, seeds=(0, 1))
    here, there = (Maker(plan, KeptFilms(tmp_path / name)) for name in ("here", "there"))
    models = [Model("base"), Model("LoRA", tmp_path / "adapter")]
    there.make(world, models[0], clips[:2])
    jobs = [(model, there.lacking(world, model, clips)) for model in models]
    assert [len(its) for _, its in jobs] == [len(clips) - 2, len(clips)]
    told: list[str] = []
    Cluster.like(world, 1).make(there, jobs, told.append)
    assert len(told) == 2 * (2 * len(clips) - 2)
    for model in models:
        assert there.lacking(world, model, clips) == []
        mine, theirs = here.make(world, model, clips), there.make(world, model, clips)
        for name, videos in mine.items():
            for one, other in zip(videos, theirs[name], strict=True):
                assert np.abs(one.read().astype(int) - other.read()).max() <= 1  # sums are rounded by their batch


@pytest.mark.slow
def test_a_fault_of_an_actor_is_its_own(tiny_world: Path, tmp_path: Path) -> None:
    world = open_world(str(tiny_world))
    films = write_films(tmp_path / "data", 4)
    clips = small_data(world, small_recipe(tiny_world, films), tmp_path / "store").train[:1]
    maker = Maker(SamplingPlan(steps=1), KeptFilms(tmp_path / "films"))
    with pytest.raises(DataError, match=r"no adapter\.json"):
        Cluster.like(world, 1).make(maker, [(Model("gone", tmp_path), clips)], lambda name: None)
