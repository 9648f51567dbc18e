"""Write the weights of a run's checkpoint as an adapter folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.folder import save_adapter
from worldtune.models.world import World
from worldtune.training.checkpoint import find_checkpoint
from worldtune.training.checks.preflight import PreflightState, check_after_training
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.distributed import SINGLE_PROCESS, Distributed
from worldtune.training.recipe import Recipe
from worldtune.training.run_folder import RunFolder
from worldtune.training.state import TrainingState
from worldtune.training.tracking.lineage import adapter_card


@dataclass(frozen=True)
class FinishedTraining:
    """A finished training run to export from: its folder, its state, its preflight check and its lineage."""

    run: RunFolder
    state: TrainingState
    preflight_state: PreflightState
    lineage: dict[str, Any]


def export(
    world: World,
    recipe: Recipe,
    data: TrainingData,
    trained: FinishedTraining,
    folder: Path,
    step: int,
    average: str | None = None,
    distributed: Distributed = SINGLE_PROCESS,
) -> AdapterCard:
    """Write the adapter of a checkpoint, or one of its moving averages, as an adapter folder.

    `world` keeps these weights. Raise UserError if there is no such checkpoint, PreflightError if the weights change
    nothing.
    """
    distributed.barrier()  # wait until the checkpoint is written
    trained.state.load_weights(find_checkpoint(trained.run.checkpoints, step), average)
    distributed.check_replicas_equal(trained.state.parameters, step)
    proof = check_after_training(world, trained.preflight_state, data.train, world.card.shift(recipe.train.shift))
    card = adapter_card(world, recipe, trained.lineage, proof, step, average)
    if distributed.is_main:
        card = save_adapter(folder, world.denoiser, card)
    distributed.barrier()  # wait until the adapter is written
    return card
