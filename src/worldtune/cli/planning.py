"""A plan as a table: a row for each way of doing it, a column for each phase, and what it means on a card.

`told` is what --json prints: "gib" by way and phase, "petaflop" by way, and what `with_card` adds.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from worldtune.cli.output import echo
from worldtune.errors import RecipeError
from worldtune.planning.gpus import GIB, first_that_fits

if TYPE_CHECKING:
    from worldtune.planning.gpus import Gpu
    from worldtune.training.recipe import Recipe
    from worldtune.worlds.catalog import KnownBase


def of_video(base: "KnownBase", size: Mapping[str, int | None], steps: int, guidance: int | None) -> dict[str, Any]:
    """One video of a base, under each offload."""
    from worldtune.planning.generation import plan_generation

    distilled = base.schedule.kind == "distilled"
    if distilled and guidance:
        raise RecipeError("a distilled base has its guidance within it", where=base.name, mend="Leave --guidance out.")
    guided = not distilled and guidance != 0
    frames, height, width = (_or(size[name], getattr(base, name)) for name in ("frames", "height", "width"))
    planned = plan_generation(base, frames, height, width, guidance=guided)
    operations = planned.flops * (2 if guided else 1) * base.schedule.evaluations(steps) / 1e15
    return {
        "title": f"a video of {base.name}, {frames} frames of {height}×{width}",
        "gib": {f"--offload {name}": _gib(phases) for name, phases in planned.phases.items()},
        "petaflop": {f"--offload {name}": operations for name in planned.phases},
    }


def _or(asked: int | None, own: int) -> int:
    return own if asked is None else asked


def of_training(recipe: "Recipe", card: "Gpu | None") -> dict[str, Any]:
    """A recipe's training as it says, and with each lever of its `machine` in turn until it fits the card."""
    from worldtune.planning.encoding import plan_encoding
    from worldtune.planning.training import TrainingPlan, known_base, plan_recipe
    from worldtune.training.data import refuse_unfit

    base, data, train = known_base(recipe.base), recipe.data, recipe.train
    refuse_unfit(recipe, base)
    sizes = {(spec.frames, spec.height, spec.width) for spec in recipe.datasets.values()}
    columns: dict[str, dict[str, float]] = {}
    petaflop: dict[str, float] = {}
    its = 0
    resident: dict[str, TrainingPlan] = {}  # by what else is done, as it takes its time to count
    encoding: dict[bool, list[dict[str, int]]] = {}
    for name, fitted in _ladder(recipe).items():
        if card and first_that_fits(columns, card.usable / GIB):
            break  # what comes is slower, and takes its time to count
        staying = fitted.machine.model_copy(update={"stream_base": False})
        if (key := staying.model_dump_json()) not in resident:
            resident[key] = plan_recipe(fitted.model_copy(update={"machine": staying}))
        planned = resident[key].streamed(base.architecture.layers) if fitted.machine.stream_base else resident[key]
        its = planned.adapter
        if (streamed := fitted.machine.stream_base) not in encoding:
            encoding[streamed] = [plan_encoding(base, *each, streamed=streamed) for each in sorted(sizes)]
        plans = encoding[streamed]
        phases = {phase: max(plan[phase] for plan in plans) for phase in plans[0]} | {"train": planned.peak}
        phases["decode a preview"] += its + planned.moments  # which stay meanwhile
        if train.preview_every is None:
            del phases["decode a preview"]
        columns[name], petaflop[name] = _gib(phases), planned.flops * train.steps / 1e15
    return {
        "title": f"{recipe.name}: {recipe.adapter.method} of rank {recipe.adapter.rank} on {base.name}, a batch of "
        f"{train.batch} × {data.frames} frames of {data.height}×{data.width}, {train.steps} steps",
        "gib": columns,
        "petaflop": petaflop,
        "disk_gib": _disk(recipe, its) / GIB,
    }


def _disk(recipe: "Recipe", its: int) -> float:
    """Bytes of the checkpoints, the best one and one that is being written among them, and of the adapter."""
    from worldtune.planning.training import KEPT

    one = 1 + KEPT[recipe.train.optimizer] + len(recipe.train.ema.names)
    return its * (one * (recipe.train.keep + 2) + 1)


LADDER: tuple[dict[str, Any], ...] = (
    {},
    {"micro_batch": 1},
    {"micro_batch": 1, "checkpointing": "selective"},
    {"micro_batch": 1, "checkpointing": "full"},
    {"micro_batch": 1, "checkpointing": "full", "offload_checkpoints": True},
    {"micro_batch": 1, "checkpointing": "full", "stream_base": True},
    {"micro_batch": 1, "checkpointing": "full", "offload_checkpoints": True, "stream_base": True},
)
"""Levers that change nothing but rounding, each slower than those before it."""


AS_IT_IS = "as it is"
MODES = ("none", "selective", "full")
FLAGS = ("offload_checkpoints", "stream_base")


def _ladder(recipe: "Recipe") -> dict[str, "Recipe"]:
    """The recipe as it is and with more and more levers, by the overrides that pull them."""
    from worldtune.training.recipe import Machine

    alone = {"shard_base": False, "context": 1}  # what is planned is one process that does all of it
    own, found = recipe.machine.model_copy(update=alone), {}
    for levers in LADDER:
        pulled = own.model_dump() | levers | {"micro_batch": own.micro_batch or levers.get("micro_batch")}
        pulled["checkpointing"] = max(own.checkpointing, levers.get("checkpointing", "none"), key=MODES.index)
        if recipe.train.batch == 1:
            pulled["micro_batch"] = None
        if pulled["compile"] and pulled["checkpointing"] == "selective":
            continue
        if levers.get("stream_base"):
            pulled["checkpoint_blocks"] = 1
        machine = Machine(**pulled | {lever: True for lever in FLAGS if getattr(own, lever) or levers.get(lever)})
        settings = machine.model_dump(mode="json", exclude_defaults=True)
        name = " ".join(f"machine.{key}={_yaml(value)}" for key, value in settings.items())
        found[name or AS_IT_IS] = recipe.model_copy(update={"machine": machine})
    return found


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_card(told: dict[str, Any], card: "Gpu | None", utilisation: float) -> dict[str, Any]:
    """`told` with the first way that fits the card, and the time there."""
    usable = card.usable / GIB if card else None
    speed = card.teraflops if card else None
    fits = first_that_fits(told["gib"], usable) if usable else None
    return told | {
        "gpu": card.name if card else None,
        "usable_gib": usable,
        "fits_with": fits,
        "utilisation": utilisation,
        "seconds": told["petaflop"][fits] * 1e3 / (speed * utilisation) if speed and fits else None,
    }


def say(told: dict[str, Any]) -> None:
    """Print the table and what it means."""
    ways: dict[str, dict[str, float]] = told["gib"]
    echo(f"{told['title']}, bfloat16, on one GPU: GiB at most, and PFLOP of all steps")
    phases = [*next(iter(ways.values())), "at most", "PFLOP"]
    widths = [max(len(phase), 7) + 2 for phase in phases]
    echo("".join(f"{phase:>{width}}" for phase, width in zip(phases, widths, strict=True)))
    for name, needs in ways.items():
        values = [*needs.values(), max(needs.values()), told["petaflop"][name]]
        numbers = "".join(f"{short(value):>{width}}" for value, width in zip(values, widths, strict=True))
        echo(f"{numbers}  {name}")
    if "disk_gib" in told:
        echo(f"{short(told['disk_gib'])} GiB of disk for checkpoints and adapter")
    if told["seconds"]:
        echo(f"{_time(told['seconds'])} on {told['gpu']} if {told['utilisation']:.0%} of its speed are met")
    if told["fits_with"]:
        with_it = told["fits_with"] if told["fits_with"] == AS_IT_IS else f"with {told['fits_with']}"
        echo(f"fits {told['gpu']} ({short(told['usable_gib'])} GiB usable) {with_it}")


def short(value: float) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _gib(phases: Mapping[str, int]) -> dict[str, float]:
    return {phase: count / GIB for phase, count in phases.items()}


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{short(seconds)} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"
