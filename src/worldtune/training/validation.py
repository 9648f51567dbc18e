"""Validations during training: what they log, which was the best, and when to stop."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from worldtune.latents.dataset import LatentClip
from worldtune.training.data import TrainingData, spread
from worldtune.training.held_out import HeldOutLosses, measure_held_out
from worldtune.training.recipe import Recipe
from worldtune.training.state import TrainingState
from worldtune.training.team import Team
from worldtune.worlds.world import World

Row = Mapping[str, Any]


class Choice(NamedTuple):
    """The weights of a step, its own or an average's, and their held-out loss."""

    step: int
    average: str | None
    loss: float


def chosen(rows: Sequence[Row], recipe: Recipe, last: int) -> tuple[int, str | None]:
    """The step whose weights are exported, and the average if they are one: the best, or else the last."""
    best = best_of(rows) if recipe.check.export == "best" else None
    return (best.step, best.average) if best else (last, None)


def validate(world: World, recipe: Recipe, data: TrainingData, state: TrainingState, team: Team) -> dict[str, Any]:
    """The held-out loss and its parts, that of every average, and of the base's domain; what there is no data of is
    left out."""
    row: dict[str, Any] = {}
    if data.held_out:
        found = _measure(world, recipe, data.held_out, team)
        row["held_out_loss"] = found.mean
        if averages := recipe.train.ema.names:
            row["averages"] = {name: _averaged(world, recipe, data, state, name, team) for name in averages}
        row["held_out"] = found.parts()
    if data.forgetting:
        row["base_domain_loss"] = _measure(world, recipe, data.forgetting, team).mean
    return row


def _averaged(
    world: World, recipe: Recipe, data: TrainingData, state: TrainingState, average: str, team: Team
) -> float:
    with state.averaged(average):
        return _measure(world, recipe, data.held_out, team).mean


def _measure(world: World, recipe: Recipe, clips: Sequence[LatentClip], team: Team) -> HeldOutLosses:
    check, train = recipe.check, recipe.train
    batch = recipe.machine.micro_batch or team.largest_share(train.batch)
    return measure_held_out(
        world, spread(clips, check.clips), check.modes, check.sigmas, world.card.shift(train.shift), batch, team
    )


def best_of(rows: Sequence[Row]) -> Choice | None:
    """The weights with the least held-out loss after training began, the earliest of them; None before."""
    choices = [choice for row in rows if row["step"] > 0 for choice in _choices(row)]
    return min(choices, key=lambda choice: choice.loss, default=None)


def _choices(row: Row) -> list[Choice]:
    if "held_out_loss" not in row:
        return []
    losses = {None: row["held_out_loss"]} | row.get("averages", {})
    return [
        Choice(row["step"], average, loss if loss is not None and math.isfinite(loss) else math.inf)
        for average, loss in losses.items()
    ]


def exported_losses(rows: Sequence[Row], step: int | None, average: str | None) -> tuple[float | None, float | None]:
    """The held-out loss of the base, and of the weights of `step`; None where it was not measured."""
    first = [row["held_out_loss"] for row in rows if row["step"] == 0 and "held_out_loss" in row]
    theirs = [choice.loss for row in rows for choice in _choices(row) if choice[:2] == (step, average)]
    return first[0] if first else None, theirs[-1] if theirs else None


def is_out_of_patience(rows: Sequence[Row], patience: int | None) -> bool:
    """Whether the last `patience` validations were no better than one before them, the base's included."""
    losses = [min(choice.loss for choice in found) for row in rows if (found := _choices(row))]
    return patience is not None and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])
