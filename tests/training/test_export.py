"""Export of an earlier checkpoint or of a moving average."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from support.training import small_recipe
from worldtune.adapters.card import AdapterCard, read_card
from worldtune.adapters.folder import WEIGHTS, load_adapter
from worldtune.adapters.inject import adapter_parameters, inject
from worldtune.adapters.layers.initialization import frozen_factors
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.tensors.read import read_tensors
from worldtune.errors import PreflightError, UserError
from worldtune.models.load import open_world
from worldtune.models.world import World
from worldtune.training.checks.preflight import PreflightState, preflight
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.export import FinishedTraining, export
from worldtune.training.loop import Callbacks, train
from worldtune.training.recipe import Recipe
from worldtune.training.run_folder import RunFolder
from worldtune.training.state import TrainingState
from worldtune.training.validation.held_out_loss import measure_held_out

LINEAGE = {"by": "hand"}


class Trained(NamedTuple):
    """A run with all of its checkpoints, and its adapter's weights after each step."""

    recipe: Recipe
    run: RunFolder
    card: AdapterCard
    walk: list[dict[str, Tensor]]


@pytest.fixture(scope="module", params=["zero", "pissa"])
def trained(
    request: pytest.FixtureRequest,
    tiny_world: Path,
    videos: Path,
    data: TrainingData,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    recipe = small_recipe(tiny_world, videos, keep_checkpoints=9, ema={"power": [2.0], "decay": [0.9]})
    recipe = recipe.model_copy(update={"adapter": AdapterSpec(rank=2, init=request.param)})
    run, world, walk = RunFolder(tmp_path_factory.mktemp("runs") / "run"), open_world(str(tiny_world)), []

    def watch(done: int, total: int, note: str = "") -> None:
        walk.append({name: p.detach().clone() for name, p in adapter_parameters(world.denoiser).items()})

    run.start(recipe)
    return Trained(recipe, run, train(world, recipe, data, run, callbacks=Callbacks(watch)), walk)


class Fresh(NamedTuple):
    """The base with a new adapter, before a checkpoint is loaded."""

    world: World
    preflight_state: PreflightState
    state: TrainingState


@pytest.fixture
def fresh(trained: Trained, world: World, data: TrainingData) -> Fresh:
    recipe = trained.recipe
    parameters = inject(
        world.denoiser, recipe.adapter, seed=recipe.train.seed + 1
    )  # differs from the trained adapter's initial values
    preflight_state = preflight(world, recipe.adapter, parameters, data.train, 5.0)
    return Fresh(world, preflight_state, TrainingState(parameters, recipe.train, frozen_factors(world.denoiser)))


def export_to(trained: Trained, fresh: Fresh, data: TrainingData, *to: Any) -> AdapterCard:
    """Export `to` a folder, a step and an average; return the card."""
    return export(
        fresh.world,
        trained.recipe,
        data,
        FinishedTraining(trained.run, fresh.state, fresh.preflight_state, LINEAGE),
        *to,
    )


def weights_of(world: World) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in adapter_parameters(world.denoiser).items()}


def averaged(walk: list[dict[str, Tensor]], step: int, average: str | None) -> dict[str, Tensor]:
    """Return the weights after a step, or their average by its recursion, in float64."""
    if average is None:
        return {name: tensor.double() for name, tensor in walk[step - 1].items()}
    found = {name: torch.zeros_like(tensor, dtype=torch.float64) for name, tensor in walk[0].items()}
    for t, weights in enumerate(walk[:step], 1):
        beta = (1 - 1 / t) ** 3 if average == "power-2" else 0.9 * (t > 1)
        found = {name: beta * found[name] + (1 - beta) * weights[name].double() for name in found}
    return found


@pytest.mark.parametrize(("step", "average"), [(2, None), (4, "power-2"), (6, "decay-0.9"), (6, None)])
def test_any_checkpoint_and_average_can_be_exported(
    trained: Trained, fresh: Fresh, data: TrainingData, tiny_world: Path, tmp_path: Path, step: int, average: str | None
) -> None:
    card = export_to(trained, fresh, data, tmp_path / "out", step, average)
    for name, tensor in weights_of(fresh.world).items():
        torch.testing.assert_close(tensor.double(), averaged(trained.walk, step, average)[name], rtol=1e-5, atol=1e-6)
    assert (card.step, card.average, card.lineage, card.name) == (step, average, LINEAGE, "small")
    assert read_card(tmp_path / "out") == card
    assert card.preflight is not None
    assert card.preflight.trained_difference is not None
    assert card.preflight.trained_difference > 0
    assert card.preflight.first_loss == fresh.preflight_state.proof.first_loss

    other = open_world(str(tiny_world))
    assert load_adapter(tmp_path / "out", other.denoiser, other.card.digest) == card
    losses = [measure_held_out(each, data.held_out, ["image2world"], 2, 5.0, 2).mean for each in (fresh.world, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_export_of_the_best_step_equals_the_training_export(
    trained: Trained, fresh: Fresh, data: TrainingData, tmp_path: Path
) -> None:
    card = export_to(trained, fresh, data, tmp_path / "out", trained.card.step, trained.card.average)
    before = read_tensors(trained.run.adapter / WEIGHTS)
    after = read_tensors(tmp_path / "out" / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert card.weights_digest == trained.card.weights_digest


def test_missing_checkpoint_error_lists_existing_steps(
    trained: Trained, fresh: Fresh, data: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no checkpoint of step 99 .*Existing steps: 2, .*4, .*6"):
        export_to(trained, fresh, data, tmp_path / "out", 99, None)
    assert not (tmp_path / "out").exists()


def test_missing_average_is_an_error(trained: Trained, fresh: Fresh, data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"average\.power-3\..* is absent"):
        export_to(trained, fresh, data, tmp_path / "out", 4, "power-3")
    assert not (tmp_path / "out").exists()


def test_unchanged_weights_are_not_exported(trained: Trained, fresh: Fresh, data: TrainingData, tmp_path: Path) -> None:
    """The checkpoint holds the adapter's initial weights."""
    run = RunFolder(tmp_path / "run")
    fresh.state.save(run.checkpoints, 2)
    with pytest.raises(PreflightError, match="never changed"):
        export_to(trained._replace(run=run), fresh, data, tmp_path / "out", 2, None)
    assert not (tmp_path / "out").exists()
