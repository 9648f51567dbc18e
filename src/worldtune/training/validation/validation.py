"""Validation during training: the logged losses, the best weights, and when to stop."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from worldtune.data.splits.spread import spread
from worldtune.latents.dataset import LatentClip
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.distributed import Distributed
from worldtune.training.recipe import Recipe
from worldtune.training.state import TrainingState
from worldtune.training.validation.held_out_loss import HeldOutLosses, measure_held_out

Row = Mapping[str, Any]


class Choice(NamedTuple):
    """The weights of a step, or one of its moving averages, and their held-out loss."""

    step: int
    average: str | None
    loss: float


def choose_export(rows: Sequence[Row], recipe: Recipe, last: int) -> tuple[int, str | None]:
    """Return the step to export and its moving average, if any: the best validation, or else the last step."""
    best = best_validation(rows) if recipe.check.export == "best" else None
    return (best.step, best.average) if best else (last, None)


def validate(
    world: World, recipe: Recipe, data: TrainingData, state: TrainingState, distributed: Distributed
) -> dict[str, Any]:
    """Return the held-out loss and its parts, the loss of each moving average, and that of the base's domain.

    A loss without clips is left out.
    """
    row: dict[str, Any] = {}
    if data.held_out:
        losses = _measure(world, recipe, data.held_out, distributed)
        row["held_out_loss"] = losses.mean
        if averages := recipe.train.ema.names:
            row["averages"] = {name: _ema_loss(world, recipe, data, state, name, distributed) for name in averages}
        row["held_out"] = losses.parts()
    if data.retention:
        row["base_domain_loss"] = _measure(world, recipe, data.retention, distributed).mean
    return row


def _ema_loss(
    world: World, recipe: Recipe, data: TrainingData, state: TrainingState, average: str, distributed: Distributed
) -> float:
    with state.use_ema(average):
        return _measure(world, recipe, data.held_out, distributed).mean


def _measure(world: World, recipe: Recipe, clips: Sequence[LatentClip], distributed: Distributed) -> HeldOutLosses:
    check, train = recipe.check, recipe.train
    batch = recipe.machine.micro_batch or distributed.largest_shard(train.batch)
    return measure_held_out(
        world, spread(clips, check.clips), check.modes, check.sigmas, world.card.shift(train.shift), batch, distributed
    )


def best_validation(rows: Sequence[Row]) -> Choice | None:
    """Return the trained weights with the least held-out loss, the earliest of equals; None if not validated yet."""
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
    """Return the held-out losses of the base and of the exported weights; None if one was not measured."""
    first = [row["held_out_loss"] for row in rows if row["step"] == 0 and "held_out_loss" in row]
    exported = [choice.loss for row in rows for choice in _choices(row) if choice[:2] == (step, average)]
    return first[0] if first else None, exported[-1] if exported else None


def is_out_of_patience(rows: Sequence[Row], patience: int | None) -> bool:
    """Return whether none of the last `patience` validations beats all earlier ones, the base's included."""
    losses = [min(choice.loss for choice in choices) for row in rows if (choices := _choices(row))]
    return patience is not None and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])
