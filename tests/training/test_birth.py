import pytest
import torch
from torch import nn

from worldtune.adapters.inject import inject, wrapped_modules
from worldtune.adapters.spec import AdapterSpec
from worldtune.errors import BirthProofError
from worldtune.training.birth import Newborn, prove_born, prove_grown
from worldtune.training.data import TrainingData
from worldtune.worlds.world import World

SPEC = AdapterSpec(rank=2)


def born(world: World, data: TrainingData, spec: AdapterSpec = SPEC) -> Newborn:
    return prove_born(world, spec, inject(world.denoiser, spec, seed=0), data.train, shift=5.0)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_what_is_proved_at_birth(world: World, data: TrainingData, method: str) -> None:
    tensors = len(world.denoiser.state_dict())
    newborn = born(world, data, AdapterSpec(method=method, rank=2))
    proof = newborn.proof
    assert (proof.base_tensors, proof.wrapped_modules, proof.expected_modules) == (tensors, 20, 20)
    assert world.tensors == tensors
    assert proof.trainable_parameters == sum(p.numel() for p in newborn.parameters.values())
    assert proof.zero_step_difference == 0
    assert proof.first_loss_band[0] < proof.first_loss < proof.first_loss_band[1]
    assert proof.reached_tensors == len(newborn.parameters) == {"lora": 40, "dora": 60}[method]
    assert proof.trained_difference is None
    assert wrapped_modules(world.denoiser)


def test_a_base_of_noise_is_refused(world: World, data: TrainingData) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in world.denoiser.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    with pytest.raises(BirthProofError, match="no better than predicting zero"):
        born(world, data)


def test_a_base_of_nothing_is_refused(world: World, data: TrainingData) -> None:
    with torch.no_grad():
        world.denoiser.proj_out.weight.zero_()
    with pytest.raises(BirthProofError, match="no better than predicting zero"):
        born(world, data)


def test_a_base_that_is_not_finite_is_refused(world: World, data: TrainingData) -> None:
    with torch.no_grad():
        world.denoiser.proj_out.weight[0, 0] = torch.nan
    with pytest.raises(BirthProofError, match="predicting zero"):
        born(world, data)


def test_a_block_that_escapes_the_adapter_is_refused(world: World, data: TrainingData) -> None:
    block = world.denoiser.transformer_blocks[1]
    block.ff = nn.Sequential(block.ff.net[0].proj, nn.GELU(), block.ff.net[2])  # the same layers, other names
    with pytest.raises(BirthProofError, match="18 modules carry the adapter, 20 must"):
        born(world, data)


def test_an_adapter_that_never_moved_is_refused(world: World, data: TrainingData) -> None:
    newborn = born(world, data)
    with pytest.raises(BirthProofError, match="40 adapter tensors never changed"):
        prove_grown(world, newborn, data.train, 5.0)


def test_one_tensor_that_never_moved_is_named(world: World, data: TrainingData) -> None:
    newborn = born(world, data)
    still = "transformer_blocks.1.attn2.to_v.lora_B.default.weight"
    with torch.no_grad():
        for name, parameter in newborn.parameters.items():
            if name != still:
                parameter.add_(0.1)
    with pytest.raises(BirthProofError, match=f"1 adapter tensors never changed, first: {still}"):
        prove_grown(world, newborn, data.train, 5.0)


def test_an_adapter_that_changes_nothing_is_refused(world: World, data: TrainingData) -> None:
    newborn = born(world, data)
    with torch.no_grad():
        for parameter in newborn.parameters.values():
            parameter.add_(0.1)
    for module in world.denoiser.modules():
        if hasattr(module, "scaling"):
            module.scaling["default"] = 0.0
    with pytest.raises(BirthProofError, match="does not change the output"):
        prove_grown(world, newborn, data.train, 5.0)


def test_a_grown_adapter_is_proved(world: World, data: TrainingData) -> None:
    newborn = born(world, data)
    with torch.no_grad():
        for parameter in newborn.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    proof = prove_grown(world, newborn, data.train, 5.0)
    assert proof.trained_difference is not None
    assert proof.trained_difference > 0
    assert proof.final_loss not in (None, proof.first_loss)
    assert proof.first_loss == newborn.proof.first_loss
