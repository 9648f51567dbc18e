"""Runs that meet a NaN or infinity: the error, and what stays on disk."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from support.training import small_recipe
from worldtune.adapters.inject import adapter_parameters
from worldtune.errors import UserError
from worldtune.latents.dataset import LatentClip
from worldtune.latents.mixture import Mixture
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.models.load import open_world
from worldtune.training.checkpoint import checkpoints, step_of
from worldtune.training.checks.nan_guard import check_finite_values
from worldtune.training.data.batches import Batches
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.loop import Callbacks, train
from worldtune.training.recipe import Machine, Recipe
from worldtune.training.run_folder import RunFolder

UNPROBED = (2, 5)  # clips, of six, that the preflight check does not use
LATE = 3  # a seed whose first step does not have both of them


@pytest.fixture
def harmed(data: TrainingData) -> tuple[TrainingData, LatentClip]:
    """The training clips, and the unprobed clip that comes last, which a test spoils."""
    order = Mixture([len(data.train)], [1.0], LATE)
    first = {clip: min(n for n in range(18) if order[n][1] == clip) for clip in UNPROBED}
    number = max(first, key=first.__getitem__)
    return data, data.train[number]


def spoil(data: TrainingData, clip: LatentClip, store: Path, value: float = math.nan) -> TrainingData:
    """Return the data with one element of a clip's latent set to `value`."""
    z_CTHW = load_tensor(clip.latent).clone()
    z_CTHW[0, -1, 0, 0] = value
    spoiled = replace(clip, latent=LatentStore(store).save(z_CTHW, {}))
    return replace(data, train=[spoiled if other is clip else other for other in data.train])


def starting(folder: Path, recipe: Recipe) -> RunFolder:
    run = RunFolder(folder)
    run.start(recipe)
    return run


def first_step_with(data: TrainingData, recipe: Recipe, clip: LatentClip) -> tuple[int, float]:
    """Return the first step with the clip, counted from 0, and the clip's noise level in it."""
    with Batches(data, recipe, 5.0, range(recipe.train.batch)) as batches:
        for step in range(recipe.train.steps):
            for part in batches.of(step):
                if clip in part.clips:
                    return step, part.draws.sigma_B[part.clips.index(clip)].item()
    raise AssertionError("the clip is not trained on")


@pytest.mark.parametrize(("value", "batch"), [(math.nan, 1), (math.inf, 3)])
def test_non_finite_clip_stops_the_run_which_resumes_when_fixed(
    harmed: tuple[TrainingData, LatentClip], tiny_world: Path, videos: Path, tmp_path: Path, value: float, batch: int
) -> None:
    data, clip = harmed
    recipe = small_recipe(tiny_world, videos, seed=LATE, batch=batch, checkpoint_every=1, keep_checkpoints=9)
    whole = starting(tmp_path / "whole", recipe)
    train(open_world(str(tiny_world)), recipe, data, whole)

    step, sigma = first_step_with(data, recipe, clip)
    assert step == {1: 5, 3: 1}[batch]
    spoiled = spoil(data, clip, tmp_path / "store", value)
    run = starting(tmp_path / "run", recipe)
    with pytest.raises(UserError) as stopped:
        train(open_world(str(tiny_world)), recipe, spoiled, run)
    message = f"for {clip.clip.name} at σ={sigma:.3f}; the newest checkpoint is of step {step}"
    assert message in stopped.value.what
    assert re.match(rf"the loss is (nan|inf) at step {step + 1}, ", stopped.value.what)
    assert stopped.value.where == str(run.path)
    assert [step_of(path) for path in checkpoints(run.checkpoints)][-1] == step
    assert [row["step"] for row in run.rows() if "loss" in row] == list(range(1, step + 1))
    assert not run.adapter.exists()

    run.resume(recipe)
    with pytest.raises(
        UserError, match=rf"at step {step + 1}, .* checkpoint is of step {step}"
    ):  # the clip is still spoiled
        train(open_world(str(tiny_world)), recipe, spoiled, run, resume=True)
    train(open_world(str(tiny_world)), recipe, data, run, resume=True)
    assert run.metrics.read_bytes() == whole.metrics.read_bytes()
    for path in whole.adapter.iterdir():
        assert (run.adapter / path.name).read_bytes() == path.read_bytes()


def test_micro_batches_name_only_the_bad_clip(
    harmed: tuple[TrainingData, LatentClip], tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    data, clip = harmed
    recipe = small_recipe(tiny_world, videos, seed=LATE).model_copy(update={"machine": Machine(micro_batch=2)})
    data = spoil(data, clip, tmp_path / "store")
    with pytest.raises(UserError, match=rf"the loss is nan at step \d, for {clip.clip.name} at σ=0\.\d+; "):
        train(open_world(str(tiny_world)), recipe, data, starting(tmp_path / "run", recipe))


def test_gradient_overflow_names_all_clips_and_saves_a_checkpoint(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    """From step 4 on one tensor's gradient is infinite, while the loss is finite."""
    recipe = small_recipe(tiny_world, videos, seed=LATE, checkpoint_every=100)
    whole, run = (starting(tmp_path / name, recipe) for name in ("whole", "run"))
    train(open_world(str(tiny_world)), recipe, data, whole)
    world = open_world(str(tiny_world))

    def overflow(done: int, total: int, note: str = "") -> None:
        if done == 3:
            next(iter(adapter_parameters(world.denoiser).values())).register_hook(lambda gradient: gradient + math.inf)

    with pytest.raises(UserError) as stopped:
        train(world, recipe, data, run, callbacks=Callbacks(overflow))
    with Batches(data, recipe, 5.0, range(3)) as batches:
        (part,) = batches.of(3)
    named = zip(part.clips, part.draws.sigma_B.tolist(), strict=True)
    clips = ", ".join(f"{clip.clip.name} at σ={sigma:.3f}" for clip, sigma in named)
    message = rf"the gradient's norm is (nan|inf) at step 4, for {clips}; the newest checkpoint is of step 3"
    assert re.fullmatch(message, stopped.value.what)
    assert not run.adapter.exists()

    run.resume(recipe)
    train(open_world(str(tiny_world)), recipe, data, run, resume=True)
    assert run.metrics.read_bytes() == whole.metrics.read_bytes()
    for path in whole.adapter.iterdir():
        assert (run.adapter / path.name).read_bytes() == path.read_bytes()


def test_far_too_high_rate_leaves_no_bad_checkpoint(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, videos, seed=LATE, lr=1e6, warmup=0, checkpoint_every=100)
    run = starting(tmp_path / "run", recipe)
    with pytest.raises(UserError, match=r"--resume --allow-change") as stopped:
        train(open_world(str(tiny_world)), recipe, data, run)
    steps = [row["step"] for row in run.rows() if "loss" in row]
    assert steps == list(range(1, len(steps) + 1))
    assert f"at step {len(steps) + 1}, for" in stopped.value.what
    assert "there is no checkpoint yet" in stopped.value.what
    assert not checkpoints(run.checkpoints)


def test_failure_at_step_one_saves_no_checkpoint(
    harmed: tuple[TrainingData, LatentClip], tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    data, clip = harmed
    recipe = small_recipe(tiny_world, videos, seed=LATE, batch=6)
    data = spoil(data, clip, tmp_path / "store")
    run = starting(tmp_path / "run", recipe)
    with pytest.raises(UserError, match=rf"at step 1, for {clip.clip.name} at σ=0\.\d+; there is no checkpoint yet \["):
        train(open_world(str(tiny_world)), recipe, data, run)
    assert not checkpoints(run.checkpoints)


@pytest.mark.parametrize(("batch", "more"), [(3, ""), (5, " and 2 more")])
def test_error_names_at_most_three_clips(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path, batch: int, more: str
) -> None:
    recipe = small_recipe(tiny_world, videos, seed=LATE, batch=batch)
    with Batches(data, recipe, 5.0, range(batch)) as batches:
        parts = batches.of(0)
    with pytest.raises(UserError) as stopped:
        check_finite_values("gradient's norm", math.inf, parts, RunFolder(tmp_path), 0)
    assert stopped.value.what.count("σ=") == 3
    assert stopped.value.what.endswith(f"{more}; there is no checkpoint yet")


def test_finite_values_pass(tmp_path: Path) -> None:
    for value in (0.0, -1e30, torch.tensor([1e38, -1e38])):
        check_finite_values("loss", value, [], RunFolder(tmp_path), 1)
