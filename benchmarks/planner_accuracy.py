"""The predicted needs of a training step, and the error of the prediction."""

import torch

from benchmarks.training.allocation import allocated_peak
from benchmarks.training.training_steps import draw
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.models.catalog import BY_NAME, KnownBase
from worldtune.models.load import open_world
from worldtune.models.memory.activation_checkpoint import ActivationCheckpoint, CheckpointMode
from worldtune.models.transformer.denoiser import Execution
from worldtune.planning.plans import TrainingPlan
from worldtune.planning.training import Precision, free_and_recreate, plan_training
from worldtune.training.flow_matching_loss import loss_per_clip

POCKET = BY_NAME["pocket"]
CLIPS = 4
Size = tuple[int, int, int]  # frames, height, width


def plan_step(base: KnownBase, size: Size, mode: CheckpointMode, *, offloaded: bool = False) -> TrainingPlan:
    """Return the plan of a step: LoRA of rank 32, bf16, one clip. If `offloaded`, block inputs are in CPU memory."""
    checkpoint = ActivationCheckpoint(mode, offload_input=free_and_recreate if offloaded else None)
    return plan_training(base, AdapterSpec(rank=32), (1, *size), checkpoint)


def selective_flops_ratio(base: KnownBase, size: Size) -> float:
    """Return the FLOPs of a step with selective recomputation over those with full recomputation."""
    return plan_step(base, size, "selective").flops / plan_step(base, size, "full").flops


def prediction_error(method: str, mode: CheckpointMode) -> float:
    """Return |predicted/allocated − 1| of the bytes of one pocket step, fp32, beyond weights and optimizer state."""
    spec = AdapterSpec(method=method, rank=16)
    size, precision = (CLIPS, POCKET.frames, POCKET.height, POCKET.width), Precision(torch.float32)
    planned = plan_training(POCKET, spec, size, ActivationCheckpoint(mode), precision=precision)
    world = open_world("pocket")
    world.execution = Execution(activation_checkpoint=ActivationCheckpoint(mode))
    parameters = inject(world.denoiser, spec, seed=0)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-6)
    draws, text_BND = draw(CLIPS, (16, 6, 8, 8)), world.no_text().expand(CLIPS, -1, -1)
    z_BCTHW = torch.randn_like(draws.noise_BCTHW)

    def step() -> None:
        optimizer.zero_grad()
        loss_per_clip(world, z_BCTHW, text_BND, draws).mean().backward()

    step()
    optimizer.step()
    optimizer.zero_grad()
    return abs(planned.step / allocated_peak(step) - 1)
