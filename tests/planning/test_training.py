"""Predicted memory of a training step against what is really allocated, and the promises of real sizes."""

import pytest
import torch

from support.allocation import allocated_peak
from worldtune.adapters.folder import remove_adapter
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.planning import training
from worldtune.planning.blank import with_layers
from worldtune.planning.training import plan_training
from worldtune.training.draws import Draws
from worldtune.training.objective import loss_per_clip
from worldtune.worlds.catalog import BY_NAME
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World

POCKET = BY_NAME["pocket"]
SIZE = (4, 21, 64, 64)


@pytest.fixture(scope="module")
def world() -> World:
    return open_world("pocket")


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_step_needs_what_was_predicted(world: World, method: str, checkpointing: bool) -> None:
    spec = AdapterSpec(method=method, rank=16)
    planned = plan_training(POCKET, spec, *SIZE, checkpointing=checkpointing, dtype=torch.float32)
    parameters = inject(world.denoiser, spec, seed=0)
    world.denoiser.gradient_checkpointing = checkpointing
    z_BCTHW, text_BND = torch.randn(4, 16, 6, 8, 8), world.no_text().expand(4, -1, -1)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-6)
    draws = Draws(torch.randn_like(z_BCTHW), torch.rand(4), torch.zeros(4, 6), torch.zeros(4, dtype=torch.bool))

    def step() -> None:
        optimizer.zero_grad()
        loss_per_clip(world, z_BCTHW, text_BND, draws).mean().backward()

    step()
    optimizer.step()
    optimizer.zero_grad()
    measured = allocated_peak(step)
    remove_adapter(world.denoiser)
    world.denoiser.gradient_checkpointing = False
    assert measured == pytest.approx(planned.step, rel=0.05)
    own = sum(4 * parameter.numel() for parameter in parameters.values())
    assert (planned.adapter, planned.moments) == (own, 2 * own)


def test_a_few_blocks_tell_of_all() -> None:
    spec = AdapterSpec(method="dora", rank=4)
    for checkpointing in (False, True):
        planned = plan_training(POCKET, spec, *SIZE, checkpointing=checkpointing, dtype=torch.float32)
        whole = training._measure(POCKET, spec, SIZE, checkpointing, torch.float32)
        assert tuple(vars(planned).values()) == whole
    assert plan_training(with_layers(POCKET, 9), spec, *SIZE, checkpointing=True).flops > planned.flops


def test_recomputation_costs_operations() -> None:
    spec = AdapterSpec(rank=4)
    kept, again = (plan_training(POCKET, spec, *SIZE, checkpointing=value).flops for value in (False, True))
    assert 1.2 * kept < again < 1.5 * kept


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "gibibytes"), [(432, 768, 10), (704, 1280, 20)])
def test_a_real_step_of_the_2b_fits(height: int, width: int, gibibytes: int) -> None:
    base = BY_NAME["predict2.5-2b/pre-trained"]
    planned = plan_training(base, AdapterSpec(rank=32), 1, 93, height, width, checkpointing=True)
    assert planned.peak <= gibibytes * 2**30
    assert planned.base == pytest.approx(2 * base.parameters, rel=0.001)
    assert planned.adapter == 4 * 45_875_200
