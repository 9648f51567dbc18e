import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from support.training import small_recipe
from worldtune.adapters.folder import WEIGHTS, load_adapter, remove_adapter
from worldtune.adapters.spec import AdapterSpec
from worldtune.bench.stock import stock_forward
from worldtune.diffusion.conditioning import frame_sigmas, give_frames
from worldtune.diffusion.flow import interpolate, velocity
from worldtune.errors import BirthProofError, UserError
from worldtune.tensor_files import read_tensors
from worldtune.training.batches import Batches
from worldtune.training.data import TrainingData
from worldtune.training.fit import BEFORE
from worldtune.training.held_out import held_out_losses
from worldtune.training.loop import learning_rate, train
from worldtune.training.recipe import Machine, Recipe, Train
from worldtune.training.run import RunFolder
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World

SOME_DROPPED = 2  # a seed whose first step drops the text of some clips


def start(folder: Path, recipe: Recipe) -> RunFolder:
    run = RunFolder(folder)
    run.start(recipe)
    return run


def mean_loss(world: World, data: TrainingData) -> float:
    losses = held_out_losses(world, data.held_out, "image2world", 2, 5.0, 3)
    return math.fsum(losses) / len(losses)


def test_some_clips_of_each_dataset_are_validated_on(
    world: World, data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, films, steps=1)
    recipe = recipe.model_copy(update={"check": recipe.check.model_copy(update={"clips": 1, "sigmas": 2})})
    run = start(tmp_path / "run", recipe)
    first = held_out_losses(world, data.held_out[:1], "image2world", 2, 5.0, 1)
    train(world, recipe, data, run)
    assert next(row["held_out_loss"] for row in run.rows() if "held_out_loss" in row) == pytest.approx(first[0])


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_small_training_learns(
    world: World, data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path, method: str
) -> None:
    recipe = small_recipe(tiny_world, films, steps=40, lr=0.02, batch=4, checkpoint_every=20)
    recipe = recipe.model_copy(update={"adapter": AdapterSpec(method=method, rank=8, alpha=16)})
    before, steps = mean_loss(world, data), []
    run = start(tmp_path / "run", recipe)
    card = train(world, recipe, data, run, on_step=lambda step, loss: steps.append((step, loss)))

    after = mean_loss(world, data)
    assert after < 0.7 * before
    rows = run.rows()
    assert [(row["step"], row["loss"]) for row in rows if "loss" in row] == steps
    assert [step for step, _ in steps] == list(range(1, 41))
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
    assert card.birth is not None
    assert card.birth.final_loss is not None
    assert card.birth.final_loss < card.birth.first_loss
    assert card.birth.trained_difference is not None
    assert card.lineage["clips"] == {"train": 6, "held_out": 2}
    assert card.lineage["datasets"] == data.digests
    remove_adapter(world.denoiser)
    assert mean_loss(world, data) == before


def test_the_first_step_worked_out_with_diffusers_forward(
    data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    """Its loss is the base's, with zeros for the dropped texts; Adam's first step has the size of the rate."""
    recipe = small_recipe(tiny_world, films, text_dropout=0.5, seed=SOME_DROPPED, warmup=4)
    world = open_world(str(tiny_world))
    ((clips, z_BCTHW, _, draws),) = Batches(data, recipe, 5.0, range(3)).of(0)
    assert set(draws.dropped_B.tolist()) == {True, False}
    embeddings_BNE = world.text.embed([clip.clip.caption for clip in clips])
    embeddings_BNE[draws.dropped_B] = 0
    x_BCTHW = give_frames(interpolate(z_BCTHW, draws.noise_BCTHW, draws.sigma_B), z_BCTHW, draws.known_BT)
    sigma_BT = frame_sigmas(draws.sigma_B, draws.known_BT, 1e-4)
    v_BCTHW = stock_forward(world.denoiser, x_BCTHW, sigma_BT, draws.known_BT, embeddings_BNE)
    error = v_BCTHW - velocity(z_BCTHW, draws.noise_BCTHW)
    expected = (error * (1 - draws.known_BT[:, None, :, None, None])).square().mean().item()

    losses, moved = [], []

    def stop(step: int, loss: float) -> None:
        losses.append(loss)
        moved.append(max(p.abs().max().item() for name, p in world.denoiser.named_parameters() if "lora_B" in name))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(world, recipe, data, start(tmp_path / "run", recipe), on_step=stop)
    assert losses == pytest.approx([expected], rel=1e-4)
    assert moved == pytest.approx([0.01 / 4], rel=1e-3)


@pytest.mark.parametrize(
    "machine",
    [
        {"checkpointing": "full"},
        {"checkpointing": "selective"},
        {"checkpointing": "full", "offload_checkpoints": True, "stream_base": True},
    ],
)
def test_a_run_fitted_to_its_machine_trains_the_same_adapter(
    data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path, machine: dict[str, Any]
) -> None:
    """To the bit: recomputation repeats the same operations."""
    plain, fitted = (small_recipe(tiny_world, films, steps=4) for _ in range(2))
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
def test_a_quantised_base_is_trained_on_and_said_in_the_lineage(
    data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path, method: str
) -> None:
    recipe = small_recipe(tiny_world, films, quantise="int8", steps=12, lr=0.02)
    recipe = recipe.model_copy(update={"adapter": AdapterSpec(method=method, rank=4)})
    run = start(tmp_path / "run", recipe)
    world = open_world(str(tiny_world))
    tensors = world.tensors
    card = train(world, recipe, data, run)
    losses = [row["held_out_loss"] for row in run.rows() if "held_out_loss" in row]
    assert losses[0] == pytest.approx(mean_loss(open_world(str(tiny_world)), data), rel=0.05)
    assert losses[0] != mean_loss(open_world(str(tiny_world)), data)
    assert losses[-1] < losses[0]
    assert card.lineage["base"]["quantised"] == "int8"
    assert card.birth is not None
    assert card.birth.base_tensors == tensors


def test_a_batch_in_parts_makes_the_same_steps(
    data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    rows = []
    for part in (None, 2, 1):
        recipe = small_recipe(tiny_world, films).model_copy(update={"machine": Machine(micro_batch=part)})
        run = start(tmp_path / str(part), recipe)
        train(open_world(str(tiny_world)), recipe, data, run)
        rows.append([row[key] for row in run.rows() for key in ("loss", "grad_norm", "held_out_loss") if key in row])
    assert rows[1] == pytest.approx(rows[0], rel=1e-4)
    assert rows[2] == pytest.approx(rows[0], rel=1e-4)


def test_two_runs_of_one_recipe_are_equal_byte_by_byte(
    data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    recipe, contents = small_recipe(tiny_world, films), []
    for name in ("one", "two"):
        torch.manual_seed(len(contents))
        run = start(tmp_path / name, recipe)
        train(open_world(str(tiny_world)), recipe, data, run)
        contents.append([run.metrics.read_bytes(), *(path.read_bytes() for path in sorted(run.adapter.iterdir()))])
    assert contents[0] == contents[1]


def test_another_seed_is_another_adapter(data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path) -> None:
    digests = set()
    for seed in (0, 1):
        recipe = small_recipe(tiny_world, films, seed=seed)
        run = start(tmp_path / str(seed), recipe)
        digests.add(train(open_world(str(tiny_world)), recipe, data, run).weights_digest)
    assert len(digests) == 2


def test_stopped_between_checkpoints_and_resumed_is_never_stopped(
    data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    """Stopped in step 5 with a checkpoint at 4; and in step 1, with none."""
    recipe = small_recipe(tiny_world, films)
    whole = start(tmp_path / "whole", recipe)
    train(open_world(str(tiny_world)), recipe, data, whole)
    for stop in (1, 5):
        run = start(tmp_path / f"stopped{stop}", recipe)

        def interrupt(step: int, loss: float, stop: int = stop) -> None:
            if step == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(open_world(str(tiny_world)), recipe, data, run, on_step=interrupt)
        run.resume(recipe)
        train(open_world(str(tiny_world)), recipe, data, run, resume=True)
        assert run.metrics.read_bytes() == whole.metrics.read_bytes()
        for path in whole.adapter.iterdir():
            assert (run.adapter / path.name).read_bytes() == path.read_bytes()


def test_a_finished_run_resumed_changes_nothing(
    data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, films, steps=4)
    run = start(tmp_path / "run", recipe)
    card = train(open_world(str(tiny_world)), recipe, data, run)
    metrics = run.metrics.read_bytes()
    assert train(open_world(str(tiny_world)), recipe, data, run, resume=True) == card
    assert run.metrics.read_bytes() == metrics


def test_previews_are_asked_for_and_do_not_change_the_run(
    data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, films, preview_every=2)
    asked: list[int] = []

    def preview(world: World, step: int) -> None:
        torch.rand(3)
        asked.append(step)

    with_previews, without = (start(tmp_path / name, recipe) for name in ("with", "without"))
    card = train(open_world(str(tiny_world)), recipe, data, with_previews, on_preview=preview)
    assert asked == [2, 4, 6]
    assert train(open_world(str(tiny_world)), recipe, data, without).weights_digest == card.weights_digest


def test_a_rate_of_nearly_nothing_trains_nothing_and_is_refused(
    world: World, data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, films, lr=1e-30, steps=2)
    run = start(tmp_path / "run", recipe)
    with pytest.raises(BirthProofError, match="never changed"):
        train(world, recipe, data, run)
    assert not run.adapter.exists()


def test_a_loss_that_is_not_finite_stops_the_run(
    world: World, data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path
) -> None:
    recipe = small_recipe(tiny_world, films, lr=1e30, clip_grad=1e30, warmup=0)
    run = start(tmp_path / "run", recipe)
    with pytest.raises(UserError, match=r"the (loss|gradient's norm) is (nan|inf) at step \d+, of .* at σ=0\.\d+"):
        train(world, recipe, data, run)
    assert not run.adapter.exists()
    assert all(math.isfinite(row["loss"]) for row in run.rows() if "loss" in row)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]),
        ("linear", [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]),
        ("cosine", [0.25, 0.5, 0.75, 1, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_the_rate_warms_up_and_falls_to_zero_after_the_last_step(schedule: str, expected: list[float]) -> None:
    settings = Train.model_validate({"lr": 2.0, "warmup": 4, "steps": 8, "schedule": schedule})
    assert [learning_rate(settings, step) for step in range(8)] == pytest.approx(expected, abs=1e-6)


def test_metrics_are_json_lines(data: TrainingData, tiny_world: Path, films: Path, tmp_path: Path) -> None:
    recipe = small_recipe(tiny_world, films, steps=2)
    run = start(tmp_path / "run", recipe)
    train(open_world(str(tiny_world)), recipe, data, run)
    assert [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()] == [0, 1, 2, 2]
