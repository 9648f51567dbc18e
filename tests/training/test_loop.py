import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from support.progress import Recorded
from support.stock import stock_forward
from support.training import small_recipe
from worldtune.adapters.folder import WEIGHTS, load_adapter, remove_adapter
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.tensors.read import read_tensors
from worldtune.diffusion.conditioning import apply_conditioning, frame_sigmas
from worldtune.diffusion.flow import interpolate, velocity
from worldtune.errors import PreflightError, UserError
from worldtune.models.load import open_world
from worldtune.models.world import World
from worldtune.training.apply_machine_config import BEFORE
from worldtune.training.data.batches import Batches
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.loop import Callbacks, learning_rate, train
from worldtune.training.recipe import Machine, Recipe, Train
from worldtune.training.run_folder import RunFolder
from worldtune.training.validation.held_out_loss import held_out_losses

SOME_DROPPED = 2  # a seed whose first step drops the text of some clips


def start(folder: Path, recipe: Recipe) -> RunFolder:
    run = RunFolder(folder)
    run.start(recipe)
    return run


def mean_loss(world: World, data: TrainingData) -> float:
    losses = held_out_losses(world, data.held_out, "image2world", 2, 5.0, 3)
    return math.fsum(losses) / len(losses)


def test_validation_uses_the_given_number_of_clips(
    world: World, data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, videos, steps=1)
    recipe = recipe.model_copy(update={"check": recipe.check.model_copy(update={"clips": 1, "sigmas": 2})})
    run = start(tmp_path / "run", recipe)
    first = held_out_losses(world, data.held_out[:1], "image2world", 2, 5.0, 1)
    train(world, recipe, data, run)
    assert next(row["held_out_loss"] for row in run.rows() if "held_out_loss" in row) == pytest.approx(first[0])


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_small_training_lowers_the_held_out_loss(
    world: World, data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path, method: str
) -> None:
    recipe = small_recipe(tiny_world, videos, steps=40, lr=0.02, batch=4, checkpoint_every=20)
    recipe = recipe.model_copy(update={"adapter": AdapterSpec(method=method, rank=8, alpha=16)})
    before, progress = mean_loss(world, data), Recorded()
    run = start(tmp_path / "run", recipe)
    card = train(world, recipe, data, run, callbacks=Callbacks(progress))

    after = mean_loss(world, data)
    assert after < 0.7 * before
    rows = run.rows()
    assert [(row["step"], 40, f"loss {row['loss']:.3f}") for row in rows if "loss" in row] == progress.calls
    assert [step for step, *_ in progress.calls] == list(range(1, 41))
    held_out = {row["step"]: row["held_out_loss"] for row in rows if "held_out_loss" in row}
    assert sorted(held_out) == [0, *range(3, 40, 3), 40]
    assert held_out[0] == pytest.approx(before)
    assert min(loss for step, loss in held_out.items() if step) == pytest.approx(after)
    assert all(row["grad_norm"] > 0 and 0 <= row["lr"] <= 0.02 for row in rows if "loss" in row)
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)

    other = open_world(str(tiny_world))
    assert load_adapter(run.adapter, other.denoiser, other.card.digest) == card
    assert mean_loss(other, data) == pytest.approx(after, rel=1e-6)
    assert card.step == min((loss, step) for step, loss in held_out.items() if step)[1]
    assert card.preflight is not None
    assert card.preflight.final_loss is not None
    assert card.preflight.final_loss < card.preflight.first_loss
    assert card.preflight.trained_difference is not None
    assert card.lineage["clips"] == {"train": 6, "held_out": 2}
    assert card.lineage["datasets"] == data.digests
    remove_adapter(world.denoiser)
    assert mean_loss(world, data) == before


def test_first_step_matches_the_diffusers_forward(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    """The loss is the base's, with zeros for dropped prompts; Adam's first step has the size of the rate."""
    recipe = small_recipe(tiny_world, videos, text_dropout=0.5, seed=SOME_DROPPED, warmup=4)
    world = open_world(str(tiny_world))
    ((clips, z_BCTHW, _, draws, _),) = Batches(data, recipe, 5.0, range(3)).of(0)
    assert set(draws.dropped_B.tolist()) == {True, False}
    embeddings_BNE = world.text.embed([clip.clip.caption for clip in clips])
    embeddings_BNE[draws.dropped_B] = 0
    x_BCTHW = apply_conditioning(interpolate(z_BCTHW, draws.noise_BCTHW, draws.sigma_B), z_BCTHW, draws.cond_mask_BT)
    sigma_BT = frame_sigmas(draws.sigma_B, draws.cond_mask_BT, 1e-4)
    v_BCTHW = stock_forward(world.denoiser, x_BCTHW, sigma_BT, draws.cond_mask_BT, embeddings_BNE)
    error = v_BCTHW - velocity(z_BCTHW, draws.noise_BCTHW)
    expected = (error * (1 - draws.cond_mask_BT[:, None, :, None, None])).square().mean().item()

    losses, changes = [], []

    run = start(tmp_path / "run", recipe)

    def stop(done: int, total: int, note: str = "") -> None:
        losses.append(run.rows()[-1]["loss"])
        changes.append(max(p.abs().max().item() for name, p in world.denoiser.named_parameters() if "lora_B" in name))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(world, recipe, data, run, callbacks=Callbacks(stop))
    assert losses == pytest.approx([expected], rel=1e-4)
    assert changes == pytest.approx([0.01 / 4], rel=1e-3)


@pytest.mark.parametrize(
    "machine",
    [
        {"checkpointing": "full"},
        {"checkpointing": "selective"},
        {"checkpointing": "full", "offload_activations": True, "offload_base": True},
    ],
)
def test_machine_settings_do_not_change_the_adapter(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path, machine: dict[str, Any]
) -> None:
    """The adapters are equal bit for bit, because recomputation repeats the same operations."""
    plain, fitted = (small_recipe(tiny_world, videos, steps=4) for _ in range(2))
    fitted = fitted.model_copy(update={"machine": Machine(**machine)})
    runs = []
    for name, recipe in (("plain", plain), ("fitted", fitted)):
        runs.append(start(tmp_path / name, recipe))
        train(open_world(str(tiny_world), offload=BEFORE), recipe, data, runs[-1])
    assert runs[0].metrics.read_bytes() == runs[1].metrics.read_bytes()
    assert read_tensors(runs[0].adapter / WEIGHTS).keys() == read_tensors(runs[1].adapter / WEIGHTS).keys()
    for name, tensor in read_tensors(runs[0].adapter / WEIGHTS).items():
        assert torch.equal(tensor, read_tensors(runs[1].adapter / WEIGHTS)[name])


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_quantized_base_trains_and_is_in_the_lineage(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path, method: str
) -> None:
    recipe = small_recipe(tiny_world, videos, quantization="int8", steps=12, lr=0.02)
    recipe = recipe.model_copy(update={"adapter": AdapterSpec(method=method, rank=4)})
    run = start(tmp_path / "run", recipe)
    world = open_world(str(tiny_world))
    tensors = world.tensors
    card = train(world, recipe, data, run)
    losses = [row["held_out_loss"] for row in run.rows() if "held_out_loss" in row]
    assert losses[0] == pytest.approx(mean_loss(open_world(str(tiny_world)), data), rel=0.05)
    assert losses[0] != mean_loss(open_world(str(tiny_world)), data)
    assert losses[-1] < losses[0]
    assert card.lineage["base"]["quantized"] == "int8"
    assert card.preflight is not None
    assert card.preflight.base_tensors == tensors


def test_micro_batches_take_the_same_steps(data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path) -> None:
    rows = []
    for part in (None, 2, 1):
        recipe = small_recipe(tiny_world, videos).model_copy(update={"machine": Machine(micro_batch=part)})
        run = start(tmp_path / str(part), recipe)
        train(open_world(str(tiny_world)), recipe, data, run)
        rows.append([row[key] for row in run.rows() for key in ("loss", "grad_norm", "held_out_loss") if key in row])
    assert rows[1] == pytest.approx(rows[0], rel=1e-4)
    assert rows[2] == pytest.approx(rows[0], rel=1e-4)


def test_same_recipe_writes_the_same_bytes(data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path) -> None:
    recipe, contents = small_recipe(tiny_world, videos), []
    for name in ("one", "two"):
        torch.manual_seed(len(contents))
        run = start(tmp_path / name, recipe)
        train(open_world(str(tiny_world)), recipe, data, run)
        contents.append([run.metrics.read_bytes(), *(path.read_bytes() for path in sorted(run.adapter.iterdir()))])
    assert contents[0] == contents[1]


def test_another_seed_gives_another_adapter(data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path) -> None:
    digests = set()
    for seed in (0, 1):
        recipe = small_recipe(tiny_world, videos, seed=seed)
        run = start(tmp_path / str(seed), recipe)
        digests.add(train(open_world(str(tiny_world)), recipe, data, run).weights_digest)
    assert len(digests) == 2


def test_resumed_run_equals_an_uninterrupted_one(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    """Stop in step 5 with a checkpoint at step 4, and in step 1 without a checkpoint."""
    recipe = small_recipe(tiny_world, videos)
    whole = start(tmp_path / "whole", recipe)
    train(open_world(str(tiny_world)), recipe, data, whole)
    for stop in (1, 5):
        run = start(tmp_path / f"stopped{stop}", recipe)

        def interrupt(done: int, total: int, note: str = "", stop: int = stop) -> None:
            if done == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(open_world(str(tiny_world)), recipe, data, run, callbacks=Callbacks(interrupt))
        run.resume(recipe)
        train(open_world(str(tiny_world)), recipe, data, run, resume=True)
        assert run.metrics.read_bytes() == whole.metrics.read_bytes()
        for path in whole.adapter.iterdir():
            assert (run.adapter / path.name).read_bytes() == path.read_bytes()


def test_resuming_a_finished_run_changes_nothing(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, videos, steps=4)
    run = start(tmp_path / "run", recipe)
    card = train(open_world(str(tiny_world)), recipe, data, run)
    metrics = run.metrics.read_bytes()
    assert train(open_world(str(tiny_world)), recipe, data, run, resume=True) == card
    assert run.metrics.read_bytes() == metrics


def test_previews_do_not_change_the_run(data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tiny_world, videos, preview_every=2)
    previewed: list[int] = []

    def preview(world: World, step: int) -> None:
        torch.rand(3)
        previewed.append(step)

    with_previews, without = (start(tmp_path / name, recipe) for name in ("with", "without"))
    callbacks = Callbacks(on_preview=preview)
    card = train(open_world(str(tiny_world)), recipe, data, with_previews, callbacks=callbacks)
    assert previewed == [2, 4, 6]
    assert train(open_world(str(tiny_world)), recipe, data, without).weights_digest == card.weights_digest


def test_learning_rate_too_small_to_train_is_an_error(
    world: World, data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, videos, lr=1e-30, steps=2)
    run = start(tmp_path / "run", recipe)
    with pytest.raises(PreflightError, match="never changed"):
        train(world, recipe, data, run)
    assert not run.adapter.exists()


def test_non_finite_loss_stops_the_run(
    world: World, data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, videos, lr=1e30, clip_grad=1e30, warmup=0)
    run = start(tmp_path / "run", recipe)
    with pytest.raises(UserError, match=r"the (loss|gradient's norm) is (nan|inf) at step \d+, for .* at σ=0\.\d+"):
        train(world, recipe, data, run)
    assert not run.adapter.exists()
    before, first = run.rows()  # the second step's are not written
    assert (before["step"], first["step"]) == (0, 1)
    assert first["loss"] == pytest.approx(1.845, rel=1e-3)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("linear", [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.25, 0.5, 0.75, 1, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_learning_rate_warms_up_and_decays(schedule: str, expected: list[float]) -> None:
    settings = Train.model_validate({"lr": 2.0, "warmup": 4, "steps": 8, "schedule": schedule})
    assert [learning_rate(settings, step) for step in range(8)] == pytest.approx(expected, abs=1e-6)


def test_metrics_are_json_lines(data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tiny_world, videos, steps=2)
    run = start(tmp_path / "run", recipe)
    train(open_world(str(tiny_world)), recipe, data, run)
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [0, 1, 2, 2]
