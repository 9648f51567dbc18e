import pytest
import torch
from torch import nn

from worldtune.adapters.inject import inject, wrapped_modules
from worldtune.adapters.spec import AdapterSpec
from worldtune.errors import PreflightError
from worldtune.models.world import World
from worldtune.training.checks.preflight import PreflightState, check_after_training, preflight
from worldtune.training.data.encode_datasets import TrainingData

SPEC = AdapterSpec(rank=2)


def checked(world: World, data: TrainingData, spec: AdapterSpec = SPEC) -> PreflightState:
    return preflight(world, spec, inject(world.denoiser, spec, seed=0), data.train, shift=5.0)


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_preflight_proof_of_a_new_adapter(world: World, data: TrainingData, method: str) -> None:
    tensors = len(world.denoiser.state_dict())
    preflight_state = checked(world, data, AdapterSpec(method=method, rank=2))
    proof = preflight_state.proof
    assert (proof.base_tensors, proof.wrapped_modules, proof.expected_modules) == (tensors, 20, 20)
    assert world.tensors == tensors
    assert proof.trainable_parameters == sum(p.numel() for p in preflight_state.parameters.values())
    assert proof.zero_step_difference == 0
    assert proof.first_loss_band[0] < proof.first_loss < proof.first_loss_band[1]
    assert proof.reached_tensors == len(preflight_state.parameters) == {"lora": 40, "dora": 60}[method]
    assert proof.trained_difference is None
    assert len(wrapped_modules(world.denoiser)) == 20


def test_random_base_is_an_error(world: World, data: TrainingData) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in world.denoiser.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    with pytest.raises(PreflightError, match="no better than predicting zero"):
        checked(world, data)


def test_base_that_predicts_zero_is_an_error(world: World, data: TrainingData) -> None:
    with torch.no_grad():
        world.denoiser.proj_out.weight.zero_()
    with pytest.raises(PreflightError, match="no better than predicting zero"):
        checked(world, data)


def test_non_finite_base_is_an_error(world: World, data: TrainingData) -> None:
    with torch.no_grad():
        world.denoiser.proj_out.weight[0, 0] = torch.nan
    with pytest.raises(PreflightError, match="predicting zero"):
        checked(world, data)


def test_unwrapped_block_is_an_error(world: World, data: TrainingData) -> None:
    block = world.denoiser.transformer_blocks[1]
    block.ff = nn.Sequential(block.ff.net[0].proj, nn.GELU(), block.ff.net[2])  # the same layers, other names
    with pytest.raises(PreflightError, match="18 modules carry the adapter, not 20"):
        checked(world, data)


def test_unchanged_adapter_is_an_error(world: World, data: TrainingData) -> None:
    preflight_state = checked(world, data)
    with pytest.raises(PreflightError, match="40 adapter tensors never changed"):
        check_after_training(world, preflight_state, data.train, 5.0)


def test_unchanged_tensor_is_named(world: World, data: TrainingData) -> None:
    preflight_state = checked(world, data)
    still = "transformer_blocks.1.attn2.to_v.lora_B.default.weight"
    with torch.no_grad():
        for name, parameter in preflight_state.parameters.items():
            if name != still:
                parameter.add_(0.1)
    with pytest.raises(PreflightError, match=f"1 adapter tensors never changed, first: {still}"):
        check_after_training(world, preflight_state, data.train, 5.0)


def test_adapter_without_effect_is_an_error(world: World, data: TrainingData) -> None:
    preflight_state = checked(world, data)
    with torch.no_grad():
        for parameter in preflight_state.parameters.values():
            parameter.add_(0.1)
    for module in world.denoiser.modules():
        if hasattr(module, "scaling"):
            module.scaling["default"] = 0.0
    with pytest.raises(PreflightError, match="does not change the output"):
        check_after_training(world, preflight_state, data.train, 5.0)


def test_trained_adapter_passes_the_check(world: World, data: TrainingData) -> None:
    preflight_state = checked(world, data)
    with torch.no_grad():
        for parameter in preflight_state.parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    proof = check_after_training(world, preflight_state, data.train, 5.0)
    assert proof.trained_difference is not None
    assert proof.trained_difference > 0
    assert proof.final_loss not in (None, proof.first_loss)
    assert proof.first_loss == preflight_state.proof.first_loss
