"""The best weights and early stopping: by hand, and in small training runs that get worse over time."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from support.training import recipe_data, small_recipe
from worldtune.adapters.card import AdapterCard
from worldtune.adapters.folder import WEIGHTS
from worldtune.adapters.inject import adapter_parameters, inject
from worldtune.core.progress import Progress, silent
from worldtune.core.settings import parse_model
from worldtune.core.tensors.read import read_tensors
from worldtune.models.load import open_world
from worldtune.models.world import World
from worldtune.training.checkpoint import checkpoints, step_of
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.distributed import SINGLE_PROCESS
from worldtune.training.loop import Callbacks, train
from worldtune.training.recipe import Recipe
from worldtune.training.run_folder import RunFolder
from worldtune.training.state import TrainingState
from worldtune.training.validation.held_out_loss import held_out_losses
from worldtune.training.validation.validation import (
    best_validation,
    choose_export,
    exported_losses,
    is_out_of_patience,
    validate,
)

NAN = math.nan
LOSSES = st.one_of(st.floats(0, 9), st.sampled_from([1.0, NAN, math.inf]))


def rows(*losses: float, **averages: list[float]) -> list[dict[str, Any]]:
    """Return validations at steps 0, 1, …, each after a training row."""
    found: list[dict[str, Any]] = []
    for step, loss in enumerate(losses):
        average_losses = {"averages": {name: values[step] for name, values in averages.items()}} if averages else {}
        found += [{"step": step, "loss": 0.0}, {"step": step, "held_out_loss": loss, **average_losses}]
    return found


@pytest.mark.parametrize(
    ("seen", "best"),
    [
        (rows(), None),
        (rows(0.1), None),
        (rows(0.1, 2.0), (1, None, 2.0)),
        (rows(9.0, 3.0, 2.0, 2.0, 2.5), (2, None, 2.0)),
        (rows(9.0, 3.0, NAN, 4.0), (1, None, 3.0)),
        (rows(9.0, NAN, NAN, 4.0), (3, None, 4.0)),
        (rows(9.0, math.inf, 4.0), (2, None, 4.0)),
        (rows(9.0, 3.0, 2.0, ema=[1.0, 4.0, 1.5]), (2, "ema", 1.5)),
        (rows(9.0, 3.0, 2.0, ema=[1.0, 2.0, 3.0]), (1, "ema", 2.0)),
        (rows(9.0, 3.0, one=[9.0, 3.0], other=[9.0, 3.0]), (1, None, 3.0)),
        (rows(9.0, 3.0, one=[9.0, NAN], other=[9.0, 2.0]), (1, "other", 2.0)),
        ([{"step": 1, "base_domain_loss": 0.1}], None),
    ],
)
def test_best_is_the_earliest_least_loss(
    seen: list[dict[str, Any]], best: tuple[int, str | None, float] | None
) -> None:
    assert best_validation(seen) == best


@given(st.lists(st.tuples(LOSSES, LOSSES), min_size=2, max_size=8))
def test_no_later_loss_beats_the_best(losses: list[tuple[float, float]]) -> None:
    own, averaged = (list(part) for part in zip(*losses, strict=True))
    found = best_validation(rows(*own, ema=averaged))
    measured = [loss for pair in losses[1:] for loss in pair if math.isfinite(loss)]
    assume(measured)
    assert found is not None
    assert found.loss == min(measured)
    assert all(found.loss not in pair for pair in losses[1 : found.step])


@pytest.mark.parametrize(
    ("losses", "patience", "out"),
    [
        ([3.0], 1, False),
        ([3.0, 2.0], 1, False),
        ([3.0, 3.0], 1, True),
        ([3.0, 4.0], 1, True),
        ([3.0, 2.0, 2.5], 1, True),
        ([3.0, 2.0, 2.5], 2, False),
        ([3.0, 2.0, 2.5, 2.1], 2, True),
        ([3.0, 2.0, 2.5, 1.9], 2, False),
        ([3.0, 2.0, 2.5, 2.4, 2.3], 3, True),
        ([1.0, 2.0, 1.5, 1.2], 3, True),
        ([3.0, NAN], 1, True),
        ([3.0, NAN, 2.0], 2, False),
        ([3.0, 4.0, 5.0], None, False),
        ([], 1, False),
    ],
)
def test_patience_counts_validations_without_improvement(losses: list[float], patience: int | None, out: bool) -> None:
    assert is_out_of_patience(rows(*losses), patience) is out


def test_improving_average_renews_patience() -> None:
    worse, better = [3.0, 4.0, 5.0], [3.0, 2.5, 2.0]
    assert is_out_of_patience(rows(*worse), 2)
    assert not is_out_of_patience(rows(*worse, ema=better), 2)
    assert is_out_of_patience(rows(*better, ema=worse), 1) is False


def test_export_setting_chooses_best_or_last() -> None:
    data = recipe_data(Path("base"), Path("videos"))
    best = parse_model(Recipe, data, "test")
    data["validate"]["export"] = "last"
    last = parse_model(Recipe, data, "test")
    seen = rows(9.0, 3.0, 5.0, ema=[9.0, 2.0, 4.0])
    assert choose_export(seen, best, 2) == (1, "ema")
    assert choose_export(seen, last, 2) == (2, None)
    assert choose_export(rows(9.0), best, 6) == (6, None)
    assert choose_export([], best, 6) == (6, None)


def test_exported_losses_are_those_of_the_exported_weights() -> None:
    seen = rows(9.0, 3.0, 5.0, ema=[9.0, 2.0, 4.0])
    assert exported_losses(seen, 1, None) == (9.0, 3.0)
    assert exported_losses(seen, 2, "ema") == (9.0, 4.0)
    assert exported_losses(seen, 3, None) == (9.0, None)
    assert exported_losses(seen, 2, "other") == (9.0, None)
    assert exported_losses(seen[2:], 1, None) == (None, 3.0)
    assert exported_losses([], 1, None) == (None, None)


def test_losses_without_clips_are_left_out(world: World, data: TrainingData, tiny_world: Path, videos: Path) -> None:
    recipe = small_recipe(tiny_world, videos, ema={"decay": [0.9]})
    state = TrainingState(inject(world.denoiser, recipe.adapter, 0), recipe.train)
    probed = replace(data, retention=data.train[:2])
    assert validate(world, recipe, probed, state, SINGLE_PROCESS).keys() == {
        "held_out_loss", "averages", "held_out", "base_domain_loss",
    }  # fmt: skip
    plain = small_recipe(tiny_world, videos)
    assert validate(world, plain, data, state, SINGLE_PROCESS).keys() == {"held_out_loss", "held_out"}
    assert validate(world, recipe, replace(probed, held_out=[]), state, SINGLE_PROCESS).keys() == {"base_domain_loss"}
    assert validate(world, recipe, replace(data, held_out=[]), state, SINGLE_PROCESS) == {}


def test_measuring_an_average_leaves_the_weights(
    world: World, data: TrainingData, tiny_world: Path, videos: Path
) -> None:
    """The average is the adapter's initial weights, which change nothing: its loss is the base's."""
    recipe = small_recipe(tiny_world, videos, ema={"decay": [0.9]})
    losses = held_out_losses(world, data.held_out, "image2world", 2, 5.0, 2)
    parameters = inject(world.denoiser, recipe.adapter, 0)
    state = TrainingState(parameters, recipe.train)
    for parameter in parameters.values():
        parameter.data.add_(0.05)
    row = validate(world, recipe, data, state, SINGLE_PROCESS)
    assert row["averages"] == pytest.approx({"decay-0.9": math.fsum(losses) / 2}, rel=1e-6)
    assert row["held_out_loss"] == pytest.approx(
        math.fsum(held_out_losses(world, data.held_out, "image2world", 2, 5.0, 2)) / 2, rel=1e-6
    )
    assert abs(row["held_out_loss"] - row["averages"]["decay-0.9"]) > 1e-2


def worsening(tiny_world: Path, videos: Path, patience: int = 4, export: str = "best", **more: Any) -> Recipe:
    """Return a recipe whose rate rises until training gets worse; every step is validated."""
    settings = {"steps": 40, "lr": 0.6, "warmup": 60, "schedule": "constant", "seed": 1, "keep_checkpoints": 2} | more
    recipe = recipe_data(tiny_world, videos, **settings)
    recipe["validate"] |= {"every": 1, "patience": patience, "export": export}
    return parse_model(Recipe, recipe, "test")


Walk = list[dict[str, Tensor]]


def run_through(
    tiny_world: Path,
    recipe: Recipe,
    data: TrainingData,
    folder: Path,
    *,
    resume: bool = False,
    progress: Progress = silent,
) -> tuple[RunFolder, AdapterCard, Walk]:
    """Train, and return the run, its card, and the adapter's weights after each step."""
    world, run, walk = open_world(str(tiny_world)), RunFolder(folder), []
    if resume:
        run.resume(recipe)
    else:
        run.start(recipe)

    def watch(done: int, total: int, note: str = "") -> None:
        walk.append({name: p.detach().clone() for name, p in adapter_parameters(world.denoiser).items()})
        progress(done, total, note)

    return run, train(world, recipe, data, run, resume=resume, callbacks=Callbacks(watch)), walk


def exported(run: RunFolder) -> dict[str, Tensor]:
    """Return the adapter's weights by their names in training."""
    tensors = read_tensors(run.adapter / WEIGHTS)
    return {name.removeprefix("transformer.").replace(".weight", ".default.weight"): t for name, t in tensors.items()}


def test_run_out_of_patience_exports_its_best(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    run, card, walk = run_through(tiny_world, worsening(tiny_world, videos, checkpoint_every=1), data, tmp_path)
    losses = [row["held_out_loss"] for row in run.rows() if "held_out_loss" in row]
    last, best = len(losses) - 1, losses.index(min(losses[1:]))
    assert (best + 4, card.step, card.average) == (last, best, None), losses
    assert last < 40
    assert losses[best] < losses[0]
    assert [step_of(path) for path in checkpoints(run.checkpoints)] == [best, last - 1, last]
    assert exported(run).keys() == walk[0].keys()
    assert all(torch.equal(tensor, walk[best - 1][name]) for name, tensor in exported(run).items())
    assert any(not torch.equal(tensor, walk[last - 1][name]) for name, tensor in exported(run).items())


def test_best_moving_average_is_exported(data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path) -> None:
    """The exported average equals the average of the weights after each step."""
    recipe = worsening(tiny_world, videos, ema={"decay": [0.5]})
    run, card, walk = run_through(tiny_world, recipe, data, tmp_path)
    rows = [row for row in run.rows() if "averages" in row]
    losses = {row["step"]: row["averages"]["decay-0.5"] for row in rows if row["step"]}
    assert (card.step, card.average) == (min(losses, key=losses.__getitem__), "decay-0.5")
    assert losses[card.step] < min(row["held_out_loss"] for row in rows)
    assert exported(run).keys() == walk[0].keys()
    for name, tensor in exported(run).items():
        expected = walk[0][name].double()
        for weights in walk[1 : card.step]:
            expected = 0.5 * expected + 0.5 * weights[name].double()
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
        assert not torch.equal(tensor, walk[card.step - 1][name])


@pytest.mark.parametrize("ema", [{}, {"decay": [0.5], "power": [6.94]}], ids=["weights", "averages"])
def test_resumed_run_out_of_patience_equals_an_uninterrupted_one(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path, ema: dict[str, list[float]]
) -> None:
    """Stop two steps after the best, resume to the end, and resume once more."""
    recipe = worsening(tiny_world, videos, ema=ema)
    whole, card, _ = run_through(tiny_world, recipe, data, tmp_path / "whole")
    assert card.step is not None
    stop = card.step + 2

    def interrupt(done: int, total: int, note: str = "") -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_through(tiny_world, recipe, data, tmp_path / "run", progress=interrupt)
    for _ in range(2):
        run, *_ = run_through(tiny_world, recipe, data, tmp_path / "run", resume=True)
        assert run.metrics.read_bytes() == whole.metrics.read_bytes()
        assert [path.name for path in checkpoints(run.checkpoints)] == [
            path.name for path in checkpoints(whole.checkpoints)
        ]
        for path in whole.adapter.iterdir():
            assert (run.adapter / path.name).read_bytes() == path.read_bytes()


def test_run_out_of_patience_between_checkpoints_exports_the_last_weights(
    data: TrainingData, tiny_world: Path, videos: Path, tmp_path: Path
) -> None:
    recipe = worsening(tiny_world, videos, export="last", checkpoint_every=100)
    run, card, walk = run_through(tiny_world, recipe, data, tmp_path)
    assert (card.step, card.average) == (run.rows()[-1]["step"], None)
    assert card.step < 40
    assert all(torch.equal(tensor, walk[-1][name]) for name, tensor in exported(run).items())
