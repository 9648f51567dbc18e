"""What a training step is predicted to need, and how right the prediction is."""

import torch

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.bench.allocation import allocated_peak
from worldtune.bench.training_steps import draw
from worldtune.planning.training import TrainingPlan, elsewhere, plan_training
from worldtune.training.objective import loss_per_clip
from worldtune.worlds.catalog import BY_NAME, KnownBase
from worldtune.worlds.denoiser import Execution
from worldtune.worlds.load import open_world
from worldtune.worlds.recompute import Mode, Recompute

POCKET = BY_NAME["pocket"]
CLIPS = 4
Size = tuple[int, int, int]  # frames, height, width


def plan(base: KnownBase, size: Size, mode: Mode, *, offloaded: bool = False) -> TrainingPlan:
    """A step of a LoRA of rank 32, bf16, one clip; `offloaded`: the blocks' inputs wait in the CPU's memory."""
    recompute = Recompute(mode, away=elsewhere if offloaded else None)
    return plan_training(base, AdapterSpec(rank=32), 1, *size, recompute=recompute)


def selective_operations(base: KnownBase, size: Size) -> float:
    """FLOPs of a step that keeps self-attention's results, of one that computes whole blocks again."""
    return plan(base, size, "selective").flops / plan(base, size, "full").flops


def prediction_error(method: str, mode: Mode) -> float:
    """|predicted/allocated − 1| of the bytes of one step of the pocket world, fp32, beyond weights and moments."""
    spec = AdapterSpec(method=method, rank=16)
    size = POCKET.frames, POCKET.height, POCKET.width
    planned = plan_training(POCKET, spec, CLIPS, *size, recompute=Recompute(mode), dtype=torch.float32)
    world = open_world("pocket")
    world.how = Execution(recompute=Recompute(mode))
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
