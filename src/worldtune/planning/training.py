"""Memory and operations of one training step of a recipe's adapter on a known base.

The trainer's own step runs on tensors without data. The optimizer's state counts as it is from the second step on.
Clips and prompts are encoded earlier, when the denoiser needs only its weights.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.models.catalog import KnownBase
from worldtune.models.memory.activation_checkpoint import ActivationCheckpoint, Back
from worldtune.models.quantization.linear import Kind, quantize
from worldtune.models.transformer.denoiser import Execution, keep_modulation_fp32
from worldtune.models.vae.shapes import SPATIAL, latent_frames
from worldtune.planning.bases import known_base
from worldtune.planning.flops import count_flops
from worldtune.planning.generation import measure_peak
from worldtune.planning.memory_tracker import without_data
from worldtune.planning.meta_models import meta_denoiser, meta_world, text_length, with_layers
from worldtune.planning.plans import OPTIMIZER_STATE_RATIO, TrainingPlan
from worldtune.training.data.sampling_noise import NoiseDraws
from worldtune.training.flow_matching_loss import loss_per_clip
from worldtune.training.recipe import Machine, Recipe

COMPILED = 1.25  # times a step's bytes: compiled blocks save more activations, measured on an H200 (torch 2.11)
FEW = 2  # blocks: the peak lies within one, and the first and the last differ from the others


@dataclass(frozen=True)
class Precision:
    """Number types of the frozen base: its `dtype`, the kind it is quantized to, and whether modulation stays fp32."""

    dtype: torch.dtype = torch.bfloat16
    quantized: Kind | None = None
    modulation_fp32: bool = False


def plan_training(
    base: KnownBase,
    adapter: AdapterSpec,
    size: tuple[int, int, int, int],
    activation_checkpoint: ActivationCheckpoint,
    *,
    state_ratio: float = OPTIMIZER_STATE_RATIO["adamw"],
    precision: Precision = Precision(),
) -> TrainingPlan:
    """Return what one step of `size` (clips, frames, height, width) needs.

    Optimizer and moving averages take `state_ratio` times the adapter's bytes. All needs grow linearly with the number
    of blocks, in steps of `activation_checkpoint.every`: a few blocks are measured, and the others extrapolated.
    Raise RecipeError for a size that the base cannot make.
    """
    layers, period = base.architecture.layers, activation_checkpoint.every
    few = FEW * period + (layers - FEW * period) % period
    first, second = (
        _measure(with_layers(base, count), adapter, size, activation_checkpoint, precision)
        for count in (few, few + period)
    )
    periods = (layers - few) // period
    frozen, trained, step, flops = (one + (two - one) * periods for one, two in zip(first, second, strict=True))
    block = (second[0] - first[0]) // period
    return TrainingPlan(frozen, block, trained, round(state_ratio * trained), step, flops)


def plan_recipe(recipe: Recipe) -> TrainingPlan:
    """Return what a recipe's step needs in one process that does all of it, with the recipe's `machine` settings.

    Raise BaseError if the catalog does not have its base.
    """
    data, train, batch = recipe.data, recipe.train, recipe.train.batch
    micro_batch = min(batch, recipe.machine.micro_batch or batch)
    planned = plan_on(
        recipe.machine,
        known_base(recipe.base),
        recipe.adapter,
        (micro_batch, data.frames, data.height, data.width),
        state_ratio=OPTIMIZER_STATE_RATIO[train.optimizer] + len(train.ema.names),
        precision=Precision(quantized=train.quantization, modulation_fp32=train.modulation_fp32),
    )
    return replace(planned, flops=planned.flops * batch // micro_batch)


def plan_on(
    machine: Machine,
    base: KnownBase,
    adapter: AdapterSpec,
    size: tuple[int, int, int, int],
    *,
    state_ratio: float = OPTIMIZER_STATE_RATIO["adamw"],
    precision: Precision = Precision(),
) -> TrainingPlan:
    """Return the plan of `plan_training` with the settings of `machine`."""
    offload = free_and_recreate if machine.offload_activations else None
    activation_checkpoint = ActivationCheckpoint(machine.checkpointing, machine.checkpoint_blocks, offload)
    planned = plan_training(base, adapter, size, activation_checkpoint, state_ratio=state_ratio, precision=precision)
    if machine.compile:
        planned = replace(planned, step=round(planned.step * COMPILED))
    return planned.streamed(base.architecture.layers) if machine.offload_base else planned


def _measure(
    base: KnownBase,
    adapter: AdapterSpec,
    size: tuple[int, int, int, int],
    activation_checkpoint: ActivationCheckpoint,
    precision: Precision,
) -> tuple[int, int, int, int]:
    """Return the bytes of the base, of the adapter and of a step, and the step's FLOPs, over all blocks of `base`."""
    batch, frames, height, width = size
    with torch.device("meta"):
        denoiser = meta_denoiser(base, precision.dtype)
    if precision.quantized:
        quantize(denoiser, precision.quantized)
    if precision.modulation_fp32:
        keep_modulation_fp32(denoiser)
    inject(denoiser, adapter, seed=0)
    with without_data() as tracker:
        _recreate_tensors(denoiser)
        world = meta_world(base, denoiser)
        world.check_size(frames, height, width, base.name)
        world.execution = Execution(activation_checkpoint=activation_checkpoint)
        parameters = [parameter for parameter in denoiser.parameters() if parameter.requires_grad]
        adapter_bytes = sum(parameter.untyped_storage().nbytes() for parameter in parameters)
        shape = (batch, 16, latent_frames(frames), height // SPATIAL, width // SPATIAL)
        cond_mask_BT, dropped_B = torch.zeros(batch, shape[2]), torch.zeros(batch, dtype=torch.bool)
        text_BND = torch.empty(batch, text_length(base), base.architecture.text_dim)

        def step() -> None:
            draws = NoiseDraws(torch.empty(shape), torch.empty(batch), cond_mask_BT, dropped_B)
            loss_per_clip(world, torch.empty(shape), text_BND, draws).mean().backward()

        all_bytes = tracker.live
        peak, flops = measure_peak(tracker, lambda: count_flops(step))
    return all_bytes - adapter_bytes, adapter_bytes, peak, flops


def free_and_recreate(x: Tensor) -> Back:
    """Stand in for `to_host` in a plan: free the tensor; the returned function makes it again."""
    shape, dtype = x.shape, x.dtype
    return lambda: torch.empty(shape, dtype=dtype)


def _recreate_tensors(module: nn.Module) -> None:
    """Make the module's tensors again inside the tracker, which counts them."""
    for owner in module.modules():
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                made = torch.empty(parameter.shape, dtype=parameter.dtype)
                owner._parameters[name] = nn.Parameter(made, requires_grad=parameter.requires_grad)
        for name, buffer in owner._buffers.items():
            if buffer is not None:
                owner._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
