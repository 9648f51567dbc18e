"""Memory and operations of one training step, of a recipe's adapter on a known base.

The step is the trainer's own, on tensors without data, and the optimiser's two moments are there as from the second
step on. Clips and prompts are encoded before, when the denoiser needs no more than its weights.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from dataclasses import dataclass

import torch
from torch import nn

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.planning.blank import blank_denoiser, blank_world, text_length, with_layers
from worldtune.planning.flops import count_flops
from worldtune.planning.generation import work
from worldtune.planning.meter import without_data
from worldtune.training.draws import Draws
from worldtune.training.objective import loss_per_clip
from worldtune.worlds.catalog import KnownBase
from worldtune.worlds.codec import SPATIAL, latent_frames

MOMENTS = 2  # of Adam, fp32
FEW = 3  # blocks: the peak lies within one, and the first and the last differ from the others


@dataclass(frozen=True)
class TrainingPlan:
    """Bytes of the frozen base, of the adapter, of the optimiser's moments, and a step's most beyond them; its FLOPs.

    `step` includes the adapter's gradients.
    """

    base: int
    adapter: int
    moments: int
    step: int
    flops: int

    @property
    def peak(self) -> int:
        return self.base + self.adapter + self.moments + self.step


def plan_training(
    base: KnownBase,
    adapter: AdapterSpec,
    batch: int,
    frames: int,
    height: int,
    width: int,
    *,
    checkpointing: bool,
    dtype: torch.dtype = torch.bfloat16,
) -> TrainingPlan:
    """What one step of `batch` clips needs. Raises RecipeError for a size that the base cannot make.

    Everything grows by the same with every block, so that a few are looked at and the others added.
    """
    layers = base.architecture.layers
    few = [
        _measure(with_layers(base, count), adapter, (batch, frames, height, width), checkpointing, dtype)
        for count in (FEW, FEW + 1)
    ]
    return TrainingPlan(*(first + (second - first) * (layers - FEW) for first, second in zip(*few, strict=True)))


def _measure(
    base: KnownBase, adapter: AdapterSpec, size: tuple[int, int, int, int], checkpointing: bool, dtype: torch.dtype
) -> tuple[int, int, int, int, int]:
    """The fields of a plan, with all of the base's blocks."""
    batch, frames, height, width = size
    with torch.device("meta"):
        denoiser = blank_denoiser(base, dtype)
    inject(denoiser, adapter, seed=0)
    with without_data() as meter:
        _fill(denoiser)
        world = blank_world(base, denoiser)
        world.check_size(frames, height, width, base.name)
        denoiser.gradient_checkpointing = checkpointing
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
    return there - its, its, MOMENTS * its, peak, flops


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
