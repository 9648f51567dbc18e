"""Plan the memory of each phase and the operations of a training run or a video, for each way to run it.

A way is named by its overrides or options, such as `machine.checkpointing=full` or `--offload group`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from worldtune.errors import RecipeError, UserError, did_you_mean
from worldtune.models.catalog import BY_NAME, KnownBase
from worldtune.planning.bases import known_base
from worldtune.planning.dreams import DreamsPlan, plan_dreams
from worldtune.planning.gpus import GIB, Gpu, find_gpu, first_that_fits, gpu_with
from worldtune.planning.measured import encoding_plan, step_plan, video_plan
from worldtune.planning.plans import OPTIMIZER_STATE_RATIO, TrainingPlan
from worldtune.training.checks.check_trainable import check_trainable
from worldtune.training.recipe import Machine, Recipe, find_recipe
from worldtune.training.shipped_recipes import recipe_names

VIDEO_STEPS = 35
UTILIZATION = 0.4


@dataclass(frozen=True)
class Plan:
    """The needs of a training run or a video on a GPU; as a string, a table.

    `gib` has the peak memory in GiB by way and phase, `petaflop` the operations of all steps by way, in 10¹⁵. For a
    card, `fits_with` is the first way that fits it (None: no way fits), `usable_gib` the memory that tensors may take,
    and `seconds` the time at `utilization` of the card's speed. `disk_gib` is what a run's checkpoints need. `dreams`
    is what many labeled videos need.
    """

    title: str
    gib: dict[str, dict[str, float]]
    petaflop: dict[str, float]
    disk_gib: float | None = None
    gpu: str | None = None
    usable_gib: float | None = None
    fits_with: str | None = None
    utilization: float = UTILIZATION
    seconds: float | None = None
    dreams: DreamsPlan | None = None

    @property
    def least_gib(self) -> float:
        """Return the peak memory of the way that needs least, in GiB."""
        return min(max(phases.values()) for phases in self.gib.values())

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON values; `disk_gib` is only a training run's, `dreams` is only there if planned."""
        optional = ("disk_gib", "dreams")
        return {name: value for name, value in asdict(self).items() if name not in optional or value is not None}

    def __str__(self) -> str:
        return "\n".join(_lines(self))


@dataclass(frozen=True)
class VideoSettings:
    """The video to plan; None means the base's own value, and 35 steps. `dreams`: plan that many labeled videos too."""

    frames: int | None = None
    height: int | None = None
    width: int | None = None
    steps: int | None = None
    guidance: int | None = None
    dreams: int | None = None


def card_of(gpu: str | None, memory: str | None, utilization: float | None) -> Gpu | None:
    """Return the card of a name or a memory, None if neither is given. Raise UserError if both are."""
    if gpu and memory:
        raise UserError("gpu and memory are both given", where="plan", hint="Choose one.")
    if utilization is not None and not gpu:
        raise UserError("the card's speed is not known", where="utilization", hint="Name the card with --gpu.")
    return find_gpu(gpu) if gpu else gpu_with(memory) if memory else None


def plan_what(
    what: Recipe | str | Path, video: VideoSettings, card: Gpu | None, utilization: float = UTILIZATION
) -> Plan:
    """Return the plan of a recipe's training run, or of a video if `what` is a base's name.

    Raise RecipeError if the base cannot do it, UserError for an unknown name or for video settings with a recipe.
    """
    if isinstance(what, str) and what in BY_NAME:
        return _on_card(_plan_video(BY_NAME[what], video), card, utilization)
    recipe = what if isinstance(what, Recipe) else _recipe(what)
    if given := [name for name, value in asdict(video).items() if value is not None]:
        hint = "Leave them out, or override the recipe, as with data.frames=93."
        raise UserError(f"a recipe does not take {', '.join(given)}", where=recipe.name, hint=hint)
    return _on_card(_plan_training(recipe, card), card, utilization)


def _recipe(what: str | Path) -> Recipe:
    if str(what) not in recipe_names() and Path(what).suffix not in (".yaml", ".yml") and not Path(what).exists():
        hint = did_you_mean(str(what), [*recipe_names(), *BY_NAME], "See `worldtune recipes` and `worldtune bases`.")
        raise UserError(f"no such recipe or base: '{what}'", where="worldtune plan", hint=hint)
    return find_recipe(what, [])


def _plan_video(base: KnownBase, video: VideoSettings) -> Plan:
    """Return the plan of one video of a base, for each way of offloading."""
    distilled = base.schedule.kind == "distilled"
    if distilled and video.guidance:
        raise RecipeError("a distilled base takes no guidance", where=base.name, hint="Leave --guidance out.")
    guided = (base.guidance if video.guidance is None else video.guidance) != 0
    frames, height, width = (_or(getattr(video, name), getattr(base, name)) for name in ("frames", "height", "width"))
    planned = video_plan(base, frames, height, width, guided=guided)
    evaluations = base.schedule.evaluations(_or(video.steps, VIDEO_STEPS))
    operations = planned.flops * (2 if guided else 1) * evaluations / 1e15
    dreams = video.dreams and plan_dreams(planned, video.dreams, evaluations, (frames, height, width), guided=guided)
    return Plan(
        f"a video of {base.name}, {frames} frames of {height}×{width}",
        {f"--offload {name}": _gib(phases) for name, phases in planned.phases.items()},
        {f"--offload {name}": operations for name in planned.phases},
        dreams=dreams or None,
    )


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def _plan_training(recipe: Recipe, card: Gpu | None) -> Plan:
    """Return the plan of a recipe as it is, and with more and more of `LADDER` until it fits the card."""
    base, data, train = known_base(recipe.base), recipe.data, recipe.train
    check_trainable(recipe, base)
    sizes = {(spec.frames, spec.height, spec.width) for spec in recipe.datasets.values()}
    columns: dict[str, dict[str, float]] = {}
    petaflop: dict[str, float] = {}
    adapter_bytes = 0
    encoding = [encoding_plan(base, *size) for size in sorted(sizes)]
    steps: dict[str, TrainingPlan] = {}  # by machine settings without offload_base: each is slow to measure
    for name, fitted in _ladder(recipe).items():
        if card and first_that_fits(columns, card.usable / GIB):
            break  # the next ways train more slowly, and are slow to measure
        resident = fitted.machine.model_copy(update={"offload_base": False})
        if (key := resident.model_dump_json()) not in steps:
            steps[key] = step_plan(base, fitted.model_copy(update={"machine": resident}))
        planned = steps[key]
        if fitted.machine.offload_base:
            planned = planned.streamed(base.architecture.layers)
        adapter_bytes = planned.adapter
        plans = [plan.phases(streamed=fitted.machine.offload_base) for plan in encoding]
        phases = {phase: max(plan[phase] for plan in plans) for phase in plans[0]} | {"train": planned.peak}
        phases["decode a preview"] += adapter_bytes + planned.moments  # stay in memory during previews
        if train.preview_every is None:
            del phases["decode a preview"]
        columns[name], petaflop[name] = _gib(phases), planned.flops * train.steps / 1e15
    title = f"{recipe.name}: {recipe.adapter.method} of rank {recipe.adapter.rank} on {base.name}, a batch of "
    title += f"{train.batch} × {data.frames} frames of {data.height}×{data.width}, {train.steps} steps"
    return Plan(title, columns, petaflop, _disk(recipe, adapter_bytes) / GIB)


def _disk(recipe: Recipe, adapter_bytes: int) -> float:
    """Return the bytes of all checkpoints, with the best one and one being written, and of the adapter."""
    checkpoint = 1 + OPTIMIZER_STATE_RATIO[recipe.train.optimizer] + len(recipe.train.ema.names)
    return adapter_bytes * (checkpoint * (recipe.train.keep_checkpoints + 2) + 1)


LADDER: tuple[dict[str, Any], ...] = (
    {},
    {"micro_batch": 1},
    {"micro_batch": 1, "checkpointing": "selective"},
    {"micro_batch": 1, "checkpointing": "full"},
    {"micro_batch": 1, "checkpointing": "full", "offload_activations": True},
    {"micro_batch": 1, "checkpointing": "full", "offload_base": True},
    {"micro_batch": 1, "checkpointing": "full", "offload_activations": True, "offload_base": True},
)
"""Machine settings that change the result only by rounding, each slower than those before it."""


AS_IT_IS = "as it is"
MODES = ("none", "selective", "full")
FLAGS = ("offload_activations", "offload_base")


def _ladder(recipe: Recipe) -> dict[str, Recipe]:
    """Return the recipe as it is and with each step of `LADDER`, by the overrides that make it."""
    single_process = {"shard_base": False, "context_parallel": 1}
    own, recipes = recipe.machine.model_copy(update=single_process), {}
    for changes in LADDER:
        merged = own.model_dump() | changes | {"micro_batch": own.micro_batch or changes.get("micro_batch")}
        merged["checkpointing"] = max(own.checkpointing, changes.get("checkpointing", "none"), key=MODES.index)
        if recipe.train.batch == 1:
            merged["micro_batch"] = None
        if merged["compile"] and merged["checkpointing"] == "selective":
            continue
        if changes.get("offload_base"):
            merged["checkpoint_blocks"] = 1
        machine = Machine(**merged | {flag: True for flag in FLAGS if getattr(own, flag) or changes.get(flag)})
        settings = machine.model_dump(mode="json", exclude_defaults=True)
        name = " ".join(f"machine.{key}={_yaml(value)}" for key, value in settings.items())
        recipes[name or AS_IT_IS] = recipe.model_copy(update={"machine": machine})
    return recipes


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _on_card(plan: Plan, card: Gpu | None, utilization: float) -> Plan:
    """Return the plan with the first way that fits the card, and the time on it."""
    usable = card.usable / GIB if card else None
    speed = card.teraflops if card else None
    fits = first_that_fits(plan.gib, usable) if usable else None
    return replace(
        plan,
        gpu=card.name if card else None,
        usable_gib=usable,
        fits_with=fits,
        utilization=utilization,
        seconds=plan.petaflop[fits] * 1e3 / (speed * utilization) if speed and fits else None,
        dreams=plan.dreams.at_speed(speed * utilization) if plan.dreams and speed and fits else plan.dreams,
    )


def _lines(plan: Plan) -> list[str]:
    """Return the table, and the lines that sum it up."""
    phases = [*next(iter(plan.gib.values())), "at most", "PFLOP"]
    widths = [max(len(phase), 7) + 2 for phase in phases]
    lines = [f"{plan.title}, bfloat16, on one GPU: GiB at most, and PFLOP of all steps"]
    lines.append("".join(f"{phase:>{width}}" for phase, width in zip(phases, widths, strict=True)))
    for name, needs in plan.gib.items():
        values = [*needs.values(), max(needs.values()), plan.petaflop[name]]
        numbers = "".join(f"{short(value):>{width}}" for value, width in zip(values, widths, strict=True))
        lines.append(f"{numbers}  {name}")
    if plan.disk_gib is not None:
        lines.append(f"{short(plan.disk_gib)} GiB of disk for checkpoints and adapter")
    if plan.seconds:
        lines.append(f"{_time(plan.seconds)} on {plan.gpu} at {plan.utilization:.0%} of its speed")
    if plan.fits_with and plan.usable_gib is not None:
        way = plan.fits_with if plan.fits_with == AS_IT_IS else f"with {plan.fits_with}"
        lines.append(f"fits {plan.gpu} ({short(plan.usable_gib)} GiB usable) {way}")
    if plan.dreams is not None:
        lines.append(_dreams_line(plan.dreams, plan))
    return lines


def _dreams_line(dreams: DreamsPlan, plan: Plan) -> str:
    """Return the line about dreams: the time of each phase if the card is known, else operations; and the disk."""
    evaluations = f"{dreams.evaluations} evaluations{' with guidance' if dreams.guided else ''}"
    if dreams.seconds is not None and dreams.gpu_hours is not None:
        phases = ", ".join(f"{phase} {_time(seconds)}" for phase, seconds in dreams.seconds.items())
        needs = f"{short(dreams.gpu_hours)} GPU-hours on {plan.gpu} at {plan.utilization:.0%} of its speed ({phases})"
    else:
        needs = ", ".join(f"{phase} {short(petaflop)}" for phase, petaflop in dreams.petaflop.items()) + " PFLOP"
    disk = " and ".join(f"{short(gib)} GiB of {name}" for name, gib in dreams.disk_gib.items())
    return f"{dreams.count} dreams of {evaluations}: {needs}; {disk}"


def short(value: float) -> str:
    """Return a number with one decimal, or with two digits if it is below 1."""
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _gib(phases: Mapping[str, int]) -> dict[str, float]:
    return {phase: count / GIB for phase, count in phases.items()}


def _time(seconds: float) -> str:
    if seconds < 60:
        return f"{short(seconds)} seconds"
    return f"{seconds / 60:.1f} minutes" if seconds < 3600 else f"{seconds / 3600:.1f} hours"
