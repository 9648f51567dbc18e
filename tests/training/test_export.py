"""Other weights of a run than those that training chose: an earlier checkpoint's, a moving average's."""

from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from support.training import small_recipe
from worldtune.adapters.card import AdapterCard, read_card
from worldtune.adapters.folder import WEIGHTS, load_adapter
from worldtune.adapters.inject import adapter_parameters, inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.adapters.start import frozen_factors
from worldtune.errors import BirthProofError, UserError
from worldtune.tensor_files import read_tensors
from worldtune.training.birth import Newborn, prove_born
from worldtune.training.data import TrainingData
from worldtune.training.export import export
from worldtune.training.held_out import measure_held_out
from worldtune.training.loop import train
from worldtune.training.recipe import Recipe
from worldtune.training.run import RunFolder
from worldtune.training.state import TrainingState
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World

LINEAGE = {"by": "hand"}


class Trained(NamedTuple):
    """A run that keeps all of its checkpoints, and its adapter's weights after each step."""

    recipe: Recipe
    run: RunFolder
    card: AdapterCard
    walk: list[dict[str, Tensor]]


@pytest.fixture(scope="module", params=["zero", "pissa"])
def trained(
    request: pytest.FixtureRequest,
    tiny_world: Path,
    films: Path,
    data: TrainingData,
    tmp_path_factory: pytest.TempPathFactory,
) -> Trained:
    recipe = small_recipe(tiny_world, films, keep=9, ema={"power": [2.0], "decay": [0.9]})
    recipe = recipe.model_copy(update={"adapter": AdapterSpec(rank=2, init=request.param)})
    run, world, walk = RunFolder(tmp_path_factory.mktemp("runs") / "run"), open_world(str(tiny_world)), []

    def note(step: int, loss: float) -> None:
        walk.append({name: p.detach().clone() for name, p in adapter_parameters(world.denoiser).items()})

    run.start(recipe)
    return Trained(recipe, run, train(world, recipe, data, run, on_step=note), walk)


class Fresh(NamedTuple):
    """The base with a newborn adapter, as it is before a checkpoint is loaded into it."""

    world: World
    newborn: Newborn
    state: TrainingState


@pytest.fixture
def fresh(trained: Trained, world: World, data: TrainingData) -> Fresh:
    recipe = trained.recipe
    parameters = inject(world.denoiser, recipe.adapter, seed=recipe.train.seed + 1)  # not what it was trained from
    newborn = prove_born(world, recipe.adapter, parameters, data.train, 5.0)
    return Fresh(world, newborn, TrainingState(parameters, recipe.train, frozen_factors(world.denoiser)))


def written(trained: Trained, fresh: Fresh, data: TrainingData, *to: Any) -> AdapterCard:
    """The card of an export `to` a folder, of a step, and of an average."""
    return export(fresh.world, trained.recipe, data, trained.run, fresh.state, fresh.newborn, LINEAGE, *to)


def weights_of(world: World) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in adapter_parameters(world.denoiser).items()}


def averaged(walk: list[dict[str, Tensor]], step: int, average: str | None) -> dict[str, Tensor]:
    """The weights after a step, or their average by its recursion, in float64."""
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
    card = written(trained, fresh, data, tmp_path / "out", step, average)
    for name, tensor in weights_of(fresh.world).items():
        torch.testing.assert_close(tensor.double(), averaged(trained.walk, step, average)[name], rtol=1e-5, atol=1e-6)
    assert (card.step, card.average, card.lineage, card.name) == (step, average, LINEAGE, "small")
    assert read_card(tmp_path / "out") == card
    assert card.birth is not None
    assert card.birth.trained_difference is not None
    assert card.birth.trained_difference > 0
    assert card.birth.first_loss == fresh.newborn.proof.first_loss

    other = open_world(str(tiny_world))
    assert load_adapter(tmp_path / "out", other.denoiser, other.card.digest) == card
    losses = [measure_held_out(each, data.held_out, ["image2world"], 2, 5.0, 2).mean for each in (fresh.world, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_what_training_exported_is_one_of_them(
    trained: Trained, fresh: Fresh, data: TrainingData, tmp_path: Path
) -> None:
    card = written(trained, fresh, data, tmp_path / "out", trained.card.step, trained.card.average)
    before = read_tensors(trained.run.adapter / WEIGHTS)
    after = read_tensors(tmp_path / "out" / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert card.weights_digest == trained.card.weights_digest


def test_no_such_checkpoint_names_those_that_there_are(
    trained: Trained, fresh: Fresh, data: TrainingData, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"no checkpoint of step 99 .*There are checkpoints of steps 2, .*4, .*6"):
        written(trained, fresh, data, tmp_path / "out", 99, None)
    assert not (tmp_path / "out").exists()


def test_no_such_average_is_refused(trained: Trained, fresh: Fresh, data: TrainingData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"average\.power-3\..* is absent"):
        written(trained, fresh, data, tmp_path / "out", 4, "power-3")
    assert not (tmp_path / "out").exists()


def test_weights_that_never_moved_are_not_exported(
    trained: Trained, fresh: Fresh, data: TrainingData, tmp_path: Path
) -> None:
    """A checkpoint of the adapter as it was born."""
    run = RunFolder(tmp_path / "run")
    fresh.state.save(run.checkpoints, 2)
    with pytest.raises(BirthProofError, match="never changed"):
        written(trained._replace(run=run), fresh, data, tmp_path / "out", 2, None)
    assert not (tmp_path / "out").exists()
