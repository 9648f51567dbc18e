"""Predicted memory of a training step against allocated memory, and the limits that real sizes must meet."""

import pytest
import torch

from benchmarks.training.allocation import allocated_peak
from worldtune.adapters.folder import remove_adapter
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.models.catalog import BY_NAME
from worldtune.models.load import open_world
from worldtune.models.memory.activation_checkpoint import ActivationCheckpoint, CheckpointMode
from worldtune.models.quantization.linear import Kind
from worldtune.models.transformer.denoiser import DEFAULT_EXECUTION, Execution
from worldtune.models.world import World
from worldtune.planning import training
from worldtune.planning.meta_models import with_layers
from worldtune.planning.training import Precision, free_and_recreate, plan_recipe, plan_training
from worldtune.training.data.sampling_noise import NoiseDraws
from worldtune.training.flow_matching_loss import loss_per_clip
from worldtune.training.recipe import find_recipe

POCKET = BY_NAME["pocket"]
SIZE = (4, 21, 64, 64)
FP32 = Precision(torch.float32)


@pytest.fixture(scope="module")
def world() -> World:
    return open_world("pocket")


@pytest.mark.parametrize("mode", ["none", "full", "selective"])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_predicted_memory_of_a_step_is_right(world: World, method: str, mode: CheckpointMode) -> None:
    spec = AdapterSpec(method=method, rank=16)
    planned = plan_training(POCKET, spec, SIZE, ActivationCheckpoint(mode), precision=FP32)
    parameters = inject(world.denoiser, spec, seed=0)
    world.execution = Execution(activation_checkpoint=ActivationCheckpoint(mode))
    z_BCTHW, text_BND = torch.randn(4, 16, 6, 8, 8), world.no_text().expand(4, -1, -1)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-6)
    draws = NoiseDraws(torch.randn_like(z_BCTHW), torch.rand(4), torch.zeros(4, 6), torch.zeros(4, dtype=torch.bool))

    def step() -> None:
        optimizer.zero_grad()
        loss_per_clip(world, z_BCTHW, text_BND, draws).mean().backward()

    step()
    optimizer.step()
    optimizer.zero_grad()
    measured = allocated_peak(step)
    remove_adapter(world.denoiser)
    world.execution = DEFAULT_EXECUTION
    assert measured == pytest.approx(planned.step, rel=0.05)
    adapter_bytes = sum(4 * parameter.numel() for parameter in parameters.values())
    assert (planned.adapter, planned.moments) == (adapter_bytes, 2 * adapter_bytes)


@pytest.mark.parametrize(
    "activation_checkpoint",
    [
        ActivationCheckpoint(),
        ActivationCheckpoint("full"),
        ActivationCheckpoint("full", 3),
        ActivationCheckpoint("full", 2),
    ],
)
def test_extrapolation_from_a_few_blocks_is_exact(activation_checkpoint: ActivationCheckpoint) -> None:
    spec = AdapterSpec(method="dora", rank=4)
    planned = plan_training(POCKET, spec, SIZE, activation_checkpoint, precision=FP32)
    whole = training._measure(POCKET, spec, SIZE, activation_checkpoint, FP32)
    assert (planned.base, planned.adapter, planned.step, planned.flops) == whole
    assert plan_training(with_layers(POCKET, 9), spec, SIZE, activation_checkpoint).flops > planned.flops


def test_checkpointing_trades_operations_for_memory() -> None:
    spec = AdapterSpec(rank=4)
    none, selective, full = (
        plan_training(POCKET, spec, SIZE, ActivationCheckpoint(mode)) for mode in ("none", "selective", "full")
    )
    assert 1.2 * none.flops < selective.flops < full.flops < 1.5 * none.flops
    assert none.peak > selective.peak > full.peak


def test_offloaded_activations_and_blocks_are_not_counted() -> None:
    spec, offloading = AdapterSpec(rank=4), ActivationCheckpoint("full", offload_input=free_and_recreate)
    resident, offloaded = (
        plan_training(POCKET, spec, SIZE, checkpoint) for checkpoint in (ActivationCheckpoint("full"), offloading)
    )
    block_input = 4 * 6 * 16 * 192 * 2  # bytes in bf16
    assert 2 * block_input < resident.step - offloaded.step <= 5 * block_input
    streamed = offloaded.streamed(6)
    assert offloaded.base - streamed.base == 5 * offloaded.block
    block = open_world("pocket").denoiser.transformer_blocks[0]
    assert offloaded.block == sum(2 * p.numel() for p in block.parameters())


def test_optimizer_state_and_averages_are_counted() -> None:
    recipe = find_recipe("pocket-new-view", [])
    plain = plan_recipe(recipe)
    muon = plan_recipe(find_recipe("pocket-new-view", ["train.optimizer=muon", "train.ema.power=[6.9, 3.5]"]))
    assert (plain.moments, muon.moments) == (2 * plain.adapter, 3 * muon.adapter)
    micro = plan_recipe(find_recipe("pocket-new-view", ["machine.micro_batch=2"]))
    assert micro.flops == pytest.approx(plain.flops, rel=1e-6)
    assert micro.step < 0.4 * plain.step


@pytest.mark.parametrize(("kind", "share"), [("int8", 0.6), ("fp8", 0.6), ("nf4", 0.42)])
def test_quantized_base_is_planned_with_its_own_bytes(kind: Kind, share: float) -> None:
    spec = AdapterSpec(rank=16)
    plain, quantized = (
        plan_training(POCKET, spec, SIZE, ActivationCheckpoint("full"), precision=Precision(quantized=value))
        for value in (None, kind)
    )
    assert quantized.block < share * plain.block
    assert quantized.flops == plain.flops
    world = open_world("pocket", dtype=torch.bfloat16)
    world.quantize(kind)
    tensors = world.denoiser.transformer_blocks[0].state_dict().values()
    assert quantized.block == pytest.approx(sum(t.untyped_storage().nbytes() for t in tensors), rel=0.002)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width", "gibibytes"), [(432, 768, 10), (704, 1280, 20)])
def test_a_real_step_of_the_2b_fits(height: int, width: int, gibibytes: int) -> None:
    base = BY_NAME["predict2.5-2b/pre-trained"]
    planned = plan_training(base, AdapterSpec(rank=32), (1, 93, height, width), ActivationCheckpoint("full"))
    assert planned.peak <= gibibytes * 2**30
    assert planned.base == pytest.approx(2 * base.parameters, rel=0.001)
    assert planned.adapter == 4 * 45_875_200
