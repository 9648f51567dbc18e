"""Predicted memory of a training step against what is really allocated, and the promises of real sizes."""

import pytest
import torch

from worldtune.adapters.folder import remove_adapter
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.bench.allocation import allocated_peak
from worldtune.cli.recipes import find_recipe
from worldtune.planning import training
from worldtune.planning.blank import with_layers
from worldtune.planning.training import elsewhere, plan_recipe, plan_training
from worldtune.training.draws import Draws
from worldtune.training.objective import loss_per_clip
from worldtune.worlds.catalog import BY_NAME
from worldtune.worlds.denoiser import PLAIN, Execution
from worldtune.worlds.load import open_world
from worldtune.worlds.quantised import Kind
from worldtune.worlds.recompute import Mode, Recompute
from worldtune.worlds.world import World

POCKET = BY_NAME["pocket"]
SIZE = (4, 21, 64, 64)


@pytest.fixture(scope="module")
def world() -> World:
    return open_world("pocket")


@pytest.mark.parametrize("mode", ["none", "full", "selective"])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_a_step_needs_what_was_predicted(world: World, method: str, mode: Mode) -> None:
    spec = AdapterSpec(method=method, rank=16)
    planned = plan_training(POCKET, spec, *SIZE, recompute=Recompute(mode), dtype=torch.float32)
    parameters = inject(world.denoiser, spec, seed=0)
    world.how = Execution(recompute=Recompute(mode))
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
    world.how = PLAIN
    assert measured == pytest.approx(planned.step, rel=0.05)
    own = sum(4 * parameter.numel() for parameter in parameters.values())
    assert (planned.adapter, planned.moments) == (own, 2 * own)


@pytest.mark.parametrize("recompute", [Recompute(), Recompute("full"), Recompute("full", 3), Recompute("full", 2)])
def test_a_few_blocks_tell_of_all(recompute: Recompute) -> None:
    spec = AdapterSpec(method="dora", rank=4)
    planned = plan_training(POCKET, spec, *SIZE, recompute=recompute, dtype=torch.float32)
    whole = training._measure(POCKET, spec, SIZE, recompute, torch.float32)
    assert (planned.base, planned.adapter, planned.step, planned.flops) == whole
    assert plan_training(with_layers(POCKET, 9), spec, *SIZE, recompute=recompute).flops > planned.flops


def test_recomputation_costs_operations_and_attention_that_is_kept_saves_them() -> None:
    spec = AdapterSpec(rank=4)
    kept, some, again = (
        plan_training(POCKET, spec, *SIZE, recompute=Recompute(mode)) for mode in ("none", "selective", "full")
    )
    assert 1.2 * kept.flops < some.flops < again.flops < 1.5 * kept.flops
    assert kept.peak > some.peak > again.peak


def test_what_waits_elsewhere_is_not_there() -> None:
    spec, away = AdapterSpec(rank=4), Recompute("full", away=elsewhere)
    resident, moved = (plan_training(POCKET, spec, *SIZE, recompute=how) for how in (Recompute("full"), away))
    inputs = 4 * 6 * 16 * 192 * 2  # of a block, in bf16
    assert 2 * inputs < resident.step - moved.step <= 5 * inputs
    streamed = moved.streamed(6)
    assert moved.base - streamed.base == 5 * moved.block
    assert moved.block == sum(2 * p.numel() for p in open_world("pocket").denoiser.transformer_blocks[0].parameters())


def test_an_optimiser_and_averages_have_their_memory() -> None:
    recipe = find_recipe("pocket-new-view", [])
    plain = plan_recipe(recipe)
    other = plan_recipe(find_recipe("pocket-new-view", ["train.optimizer=muon", "train.ema.power=[6.9, 3.5]"]))
    assert (plain.moments, other.moments) == (2 * plain.adapter, 3 * other.adapter)
    parts = plan_recipe(find_recipe("pocket-new-view", ["machine.micro_batch=2"]))
    assert parts.flops == pytest.approx(plain.flops, rel=1e-6)
    assert parts.step < 0.4 * plain.step


@pytest.mark.parametrize(("kind", "share"), [("int8", 0.6), ("fp8", 0.6), ("nf4", 0.42)])
def test_a_quantised_base_is_planned_with_its_own_bytes(kind: Kind, share: float) -> None:
    spec = AdapterSpec(rank=16)
    whole, coded = (
        plan_training(POCKET, spec, *SIZE, recompute=Recompute("full"), quantised=each) for each in (None, kind)
    )
    assert coded.block < share * whole.block
    assert coded.flops == whole.flops
    world = open_world("pocket", dtype=torch.bfloat16)
    world.quantise(kind)
    tensors = world.denoiser.transformer_blocks[0].state_dict().values()
    assert coded.block == pytest.approx(sum(t.untyped_storage().nbytes() for t in tensors), rel=0.002)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "gibibytes"), [(432, 768, 10), (704, 1280, 20)])
def test_a_real_step_of_the_2b_fits(height: int, width: int, gibibytes: int) -> None:
    base = BY_NAME["predict2.5-2b/pre-trained"]
    planned = plan_training(base, AdapterSpec(rank=32), 1, 93, height, width, recompute=Recompute("full"))
    assert planned.peak <= gibibytes * 2**30
    assert planned.base == pytest.approx(2 * base.parameters, rel=0.001)
    assert planned.adapter == 4 * 45_875_200
