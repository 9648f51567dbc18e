"""Memory and operations of one training step, of a recipe's adapter on a known base.

The step is the trainer's own, on tensors without data, and the optimiser's two moments are there as from the second
step on. Clips and prompts are encoded before, when the denoiser needs no more than its weights.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.planning.blank import blank_denoiser, blank_world, text_length, with_layers
from worldtune.planning.flops import count_flops
from worldtune.planning.generation import work
from worldtune.planning.meter import without_data
from worldtune.training.draws import Draws
from worldtune.training.objective import loss_per_clip
from worldtune.training.recipe import Machine, Recipe
from worldtune.worlds.catalog import KnownBase
from worldtune.worlds.denoiser import Execution, make_precise
from worldtune.worlds.latent_size import SPATIAL, latent_frames
from worldtune.worlds.quantised import Kind, quantise
from worldtune.worlds.recompute import Back, Recompute
from worldtune.worlds.source import find_base

KEPT = {"adamw": 2.0, "adamw8bit": 0.5, "muon": 1.0, "prodigy": 4.0}  # of an optimiser, in adapters of fp32
COMPILED = 1.25  # of a step's bytes: what compiled blocks keep beside them, measured on an H200 (torch 2.11)
FEW = 2  # blocks: the peak lies within one, and the first and the last differ from the others


@dataclass(frozen=True)
class TrainingPlan:
    """Bytes of the frozen base, of one of its blocks, of the adapter, of the optimiser's moments and the averages, and
    a step's most beyond them; its FLOPs.

    `step` includes the adapter's gradients.
    """

    base: int
    block: int
    adapter: int
    moments: int
    step: int
    flops: int

    @property
    def peak(self) -> int:
        return self.base + self.adapter + self.moments + self.step

    def streamed(self, layers: int) -> "TrainingPlan":
        """The same with all but one block elsewhere."""
        return replace(self, base=self.base - (layers - 1) * self.block)


def plan_training(
    base: KnownBase,
    adapter: AdapterSpec,
    batch: int,
    frames: int,
    height: int,
    width: int,
    *,
    recompute: Recompute,
    kept: float = KEPT["adamw"],
    quantised: Kind | None = None,
    precise: bool = False,
    dtype: torch.dtype = torch.bfloat16,
) -> TrainingPlan:
    """What one step of `batch` clips needs, where optimiser and averages keep `kept` times the adapter.

    Raises RecipeError for a size that the base cannot make.

    Everything grows by the same with every block, or as many as recompute alike, so that a few are looked at and the
    others added.
    """
    layers, period = base.architecture.layers, recompute.every
    few = FEW * period + (layers - FEW * period) % period
    first, second = (
        _measure(
            with_layers(base, count), adapter, (batch, frames, height, width), recompute, dtype, quantised, precise
        )
        for count in (few, few + period)
    )
    periods = (layers - few) // period
    there, its, step, flops = (one + (two - one) * periods for one, two in zip(first, second, strict=True))
    return TrainingPlan(there, (second[0] - first[0]) // period, its, round(kept * its), step, flops)


def plan_recipe(recipe: Recipe) -> TrainingPlan:
    """What a recipe's step needs of one process that does all of it, as its `machine` says.

    Raises BaseError when its base is none of the catalogue's.
    """
    data, train, batch = recipe.data, recipe.train, recipe.train.batch
    at_once = min(batch, recipe.machine.micro_batch or batch)
    size = (at_once, data.frames, data.height, data.width)
    kept = KEPT[train.optimizer] + len(train.ema.names)
    base = known_base(recipe.base)
    planned = plan_on(
        recipe.machine, base, recipe.adapter, size, kept=kept, quantised=train.quantise, precise=train.precise
    )
    return replace(planned, flops=planned.flops * batch // at_once)


def plan_on(
    machine: Machine,
    base: KnownBase,
    adapter: AdapterSpec,
    size: tuple[int, int, int, int],
    *,
    kept: float = KEPT["adamw"],
    quantised: Kind | None = None,
    precise: bool = False,
) -> TrainingPlan:
    """`plan_training` of `size` (clips, frames, height, width) as `machine` says."""
    away = elsewhere if machine.offload_checkpoints else None
    recompute = Recompute(machine.checkpointing, machine.checkpoint_blocks, away)
    planned = plan_training(base, adapter, *size, recompute=recompute, kept=kept, quantised=quantised, precise=precise)
    if machine.compile:
        planned = replace(planned, step=round(planned.step * COMPILED))
    return planned.streamed(base.architecture.layers) if machine.stream_base else planned


def known_base(name: str) -> KnownBase:
    """The catalogue's entry of a recipe's base. Raises BaseError when the name does not say it."""
    return find_base(name.partition("=")[0].partition("+")[0], f"base: {name}")


def _measure(
    base: KnownBase,
    adapter: AdapterSpec,
    size: tuple[int, int, int, int],
    recompute: Recompute,
    dtype: torch.dtype,
    quantised: Kind | None = None,
    precise: bool = False,
) -> tuple[int, int, int, int]:
    """Bytes of the base, of the adapter and of a step, and its FLOPs, with all of the base's blocks."""
    batch, frames, height, width = size
    with torch.device("meta"):
        denoiser = blank_denoiser(base, dtype)
    if quantised:
        quantise(denoiser, quantised)
    if precise:
        make_precise(denoiser)
    inject(denoiser, adapter, seed=0)
    with without_data() as meter:
        _fill(denoiser)
        world = blank_world(base, denoiser)
        world.check_size(frames, height, width, base.name)
        world.how = Execution(recompute=recompute)
        trained = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
        its = sum(parameter.untyped_storage().nbytes() for parameter in trained)
        shape = (batch, 16, latent_frames(frames), height // SPATIAL, width // SPATIAL)
        known_BT, chosen_B = torch.zeros(batch, shape[2]), torch.zeros(batch, dtype=torch.bool)
        text_BND = torch.empty(batch, text_length(base), base.architecture.text_dim)

        def step() -> None:
            draws = Draws(torch.empty(shape), torch.empty(batch), known_BT, chosen_B)
            loss_per_clip(world, torch.empty(shape), text_BND, draws).mean().backward()

        there = meter.live
        peak, flops = work(meter, lambda: count_flops(step))
    return there - its, its, peak, flops


def elsewhere(x: Tensor) -> Back:
    """In a plan, what `to_host` does: the tensor is gone, and made again."""
    shape, dtype = x.shape, x.dtype
    return lambda: torch.empty(shape, dtype=dtype)


def _fill(module: nn.Module) -> None:
    """Make the module's tensors anew, where they are counted."""
    for owner in module.modules():
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                made = torch.empty(parameter.shape, dtype=parameter.dtype)
                owner._parameters[name] = nn.Parameter(made, requires_grad=parameter.requires_grad)
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                owner._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
