from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.tuners.lora import LoraLayer

from support.tiny_world import make_denoiser
from worldtune.adapters.folder import remove_adapter
from worldtune.adapters.inject import expected_modules, inject, wrapped_modules
from worldtune.adapters.spec import AdapterSpec
from worldtune.errors import AdapterError
from worldtune.models.catalog import BY_NAME
from worldtune.models.load import open_world

ATTENTION = {f"attn{n}.{linear}" for n in (1, 2) for linear in ("to_q", "to_k", "to_v", "to_out.0")}
MLP = {"ff.net.0.proj", "ff.net.2"}

# github.com/nvidia-cosmos/cosmos-predict2.5: its guide prints 45,875,200 for a rank-32 LoRA of the 2B.
RANKS = (8, 16, 32, 64)
COUNTS = {
    ("2b", "lora"): (11_468_800, 22_937_600, 45_875_200, 91_750_400),
    ("2b", "dora"): (12_214_272, 23_683_072, 46_620_672, 92_495_872),
    ("14b", "lora"): (35_979_264, 71_958_528, 143_917_056, 287_834_112),
    ("14b", "dora"): (38_375_424, 74_354_688, 146_313_216, 290_230_272),
}
OF_ATTENTION_ALONE = {  # at rank 32
    ("2b", "lora"): 27_525_120,
    ("2b", "dora"): 27_983_872,
    ("14b", "lora"): 84_934_656,
    ("14b", "dora"): 86_409_216,
}
MODULES = {"2b": 280, "14b": 360}


def real_denoiser(name: str, blocks: int) -> CosmosTransformer3DModel:
    """Return the first blocks of a catalog base on the meta device; all blocks are alike."""
    with torch.device("meta"):
        return CosmosTransformer3DModel(**replace(BY_NAME[name].architecture, layers=blocks).config())


@pytest.mark.parametrize(("targets", "linears"), [("attention+mlp", ATTENTION | MLP), ("attention", ATTENTION)])
@pytest.mark.parametrize("method", ["lora", "dora"])
def test_exactly_the_targets_of_every_block_are_wrapped(method: str, targets: str, linears: set[str]) -> None:
    denoiser, spec = make_denoiser(), AdapterSpec(method=method, rank=2, targets=targets)
    parameters = inject(denoiser, spec, seed=0)
    expected = {f"transformer_blocks.{block}.{linear}" for block in (0, 1) for linear in linears}
    assert set(wrapped_modules(denoiser)) == expected
    assert expected_modules(denoiser, spec) == len(expected)
    assert {name for name, p in denoiser.named_parameters() if p.requires_grad} == set(parameters)
    assert all("lora_" in name for name in parameters)


@given(st.integers(1, 8), st.floats(0.1, 100))
@settings(max_examples=15)
def test_output_is_scaled_by_alpha_over_rank(rank: int, alpha: float) -> None:
    denoiser = make_denoiser()
    inject(denoiser, AdapterSpec(rank=rank, alpha=alpha), seed=0)
    layer = denoiser.transformer_blocks[0].attn1.to_q
    assert isinstance(layer, LoraLayer)
    up, down = layer.lora_B["default"].weight, layer.lora_A["default"].weight
    torch.nn.init.normal_(up, generator=torch.Generator().manual_seed(0))
    x = torch.randn(3, 48, generator=torch.Generator().manual_seed(1)).double()
    expected = x @ (layer.base_layer.weight.double() + alpha / rank * up.double() @ down.double()).T
    assert torch.allclose(layer(x.float()).double(), expected, rtol=1e-4, atol=1e-4)


def test_without_alpha_the_scale_is_one() -> None:
    denoiser = make_denoiser()
    inject(denoiser, AdapterSpec(rank=4), seed=0)
    assert denoiser.transformer_blocks[0].attn1.to_q.scaling["default"] == 1


def test_dora_magnitudes_start_at_the_row_norms() -> None:
    denoiser = make_denoiser()
    parameters = inject(denoiser, AdapterSpec(method="dora", rank=2), seed=0)
    layer = denoiser.transformer_blocks[1].ff.net[2]
    magnitude = parameters["transformer_blocks.1.ff.net.2.lora_magnitude_vector.default.weight"]
    assert torch.allclose(magnitude, layer.base_layer.weight.norm(dim=1))


def test_initialization_depends_only_on_the_seed() -> None:
    initialized = []
    for seed, noise in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(noise)
        initialized.append(inject(make_denoiser(), AdapterSpec(rank=2), seed))
        assert torch.initial_seed() == noise
    name = "transformer_blocks.0.attn1.to_q.lora_A.default.weight"
    assert torch.equal(initialized[0][name], initialized[1][name])
    assert not torch.equal(initialized[0][name], initialized[2][name])


def test_a_rank_larger_than_a_layer_is_refused(tiny_world: Path) -> None:
    world = open_world(str(tiny_world))
    with pytest.raises(AdapterError, match=r"rank 999 is larger than the inputs and outputs of transformer_blocks"):
        inject(world.denoiser, AdapterSpec(rank=999), seed=0)


def test_an_adapter_is_fp32_over_a_bf16_base(tiny_world: Path) -> None:
    world = open_world(str(tiny_world), dtype=torch.bfloat16)
    parameters = inject(world.denoiser, AdapterSpec(method="dora", rank=2), seed=0)
    assert {parameter.dtype for parameter in parameters.values()} == {torch.float32}
    assert world.dtype == torch.bfloat16


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_removal_restores_the_base(method: str) -> None:
    denoiser = make_denoiser()
    before = {name: tensor.clone() for name, tensor in denoiser.state_dict().items()}
    for parameter in inject(denoiser, AdapterSpec(method=method, rank=2), seed=0).values():
        torch.nn.init.normal_(parameter)
    remove_adapter(denoiser)
    after = denoiser.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert wrapped_modules(denoiser) == []
    inject(denoiser, AdapterSpec(rank=4), seed=0)  # another adapter can be added
    remove_adapter(denoiser)
    remove_adapter(denoiser)


@pytest.mark.parametrize("name", ["predict2.5-{}/post-trained", "predict2-{}/video2world"])
@pytest.mark.parametrize(("size", "method"), list(COUNTS))
def test_trainable_parameters_of_the_real_models(name: str, size: str, method: str) -> None:
    denoiser, blocks = real_denoiser(name.format(size), 2), BY_NAME[name.format(size)].architecture.layers
    cases = [(rank, "attention+mlp", count) for rank, count in zip(RANKS, COUNTS[size, method], strict=True)]
    for rank, targets, count in [*cases, (32, "attention", OF_ATTENTION_ALONE[size, method])]:
        spec = AdapterSpec(method=method, rank=rank, targets=targets)
        parameters = inject(denoiser, spec, seed=0)
        assert sum(parameter.numel() for parameter in parameters.values()) == count * 2 // blocks
        wrapped = len(wrapped_modules(denoiser))
        assert wrapped == expected_modules(denoiser, spec)
        assert wrapped * blocks / 2 == MODULES[size] * (1 if "mlp" in targets else 8 / 10)
        remove_adapter(denoiser)


def test_trainable_parameters_of_a_whole_model() -> None:
    parameters = inject(real_denoiser("predict2.5-2b/post-trained", 28), AdapterSpec(rank=32), seed=0)
    assert sum(parameter.numel() for parameter in parameters.values()) == COUNTS["2b", "lora"][2]
