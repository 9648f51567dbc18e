"""Which weights of a run become its adapter, and the writing of it."""

from pathlib import Path
from typing import Any

from worldtune.adapters.card import AdapterCard
from worldtune.adapters.folder import save_adapter
from worldtune.training.birth import Newborn, prove_grown
from worldtune.training.checkpoint import find_checkpoint
from worldtune.training.data import TrainingData
from worldtune.training.lineage import adapter_card
from worldtune.training.recipe import Recipe
from worldtune.training.run import RunFolder
from worldtune.training.state import TrainingState
from worldtune.training.team import ALONE, Team
from worldtune.worlds.world import World


def export(
    world: World,
    recipe: Recipe,
    data: TrainingData,
    run: RunFolder,
    state: TrainingState,
    newborn: Newborn,
    lineage: dict[str, Any],
    folder: Path,
    step: int,
    average: str | None = None,
    team: Team = ALONE,
) -> AdapterCard:
    """Write the adapter of a checkpoint, or one of its moving averages, as an adapter folder.

    `world` is left with these weights. Raises UserError when there is no such checkpoint, BirthProofError when the
    weights change nothing.
    """
    team.wait()  # until the checkpoint is written
    state.load_weights(find_checkpoint(run.checkpoints, step), average)
    team.refuse_difference(state.parameters, step)
    proof = prove_grown(world, newborn, data.train, world.card.shift(recipe.train.shift))
    card = adapter_card(world, recipe, lineage, proof, step, average)
    if team.leads:
        card = save_adapter(folder, world.denoiser, card)
    team.wait()  # until the adapter is
    return card
