"""Our layers against peft's: autocast, half precision, no gradients, saving and merging."""

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from worldtune.adapters.layers.factored_dora import FactoredDora, use_memory_efficient_layers
from worldtune.adapters.layers.memory_efficient_lora import MemoryEfficientLora

INPUTS, RANK, OUTPUTS = 24, 4, 40
FP32, BF16, FP16 = torch.float32, torch.bfloat16, torch.float16
ROUNDING = {FP32: 2e-6, BF16: 3e-2, FP16: 4e-3}  # of the largest value: some units in the last place
METHODS = pytest.mark.parametrize("use_dora", [False, True], ids=["lora", "dora"])

AUTOCAST = partial(torch.autocast, "cpu")
WAYS: dict[str, tuple[torch.dtype, torch.dtype, Callable[[], AbstractContextManager[object]], torch.dtype]] = {
    # base, factors, within, the type of products
    "fp32": (FP32, FP32, nullcontext, FP32),
    "bf16": (BF16, BF16, nullcontext, BF16),
    "fp16": (FP16, FP16, nullcontext, FP16),
    "fp32 over bf16": (BF16, FP32, nullcontext, BF16),
    "fp32 over fp16": (FP16, FP32, nullcontext, FP16),
    "fp32 in autocast to bf16": (FP32, FP32, partial(AUTOCAST, BF16), BF16),
    "fp32 in autocast to fp16": (FP32, FP32, partial(AUTOCAST, FP16), FP16),
    "bf16 in autocast to bf16": (BF16, BF16, partial(AUTOCAST, BF16), BF16),
    "fp32 over bf16 in autocast to bf16": (BF16, FP32, partial(AUTOCAST, BF16), BF16),
}


def base(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(INPUTS, OUTPUTS, bias=False), nn.LayerNorm(OUTPUTS), nn.Linear(OUTPUTS, INPUTS, bias=False)
    ).to(dtype)


def stock(dtype: torch.dtype, factors: torch.dtype, use_dora: bool) -> PeftModel:
    """Return a peft model with nonzero factors of one type over a base of another."""
    config = LoraConfig(r=RANK, lora_alpha=6, target_modules=["0", "2"], use_dora=use_dora)
    model = get_peft_model(base(dtype), config, autocast_adapter_dtype=False)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(factors)
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
        if "magnitude" in name:
            parameter.data *= 1.3
    return model


def ours(model: PeftModel) -> PeftModel:
    """Return a copy of a model with our layers and the same values."""
    model = copy.deepcopy(model)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    use_memory_efficient_layers(model, "default")
    for name, parameter in model.named_parameters():
        parameter.data = before[name]
    kinds = {type(layer.lora_variant["default"]) for layer in (model.base_model.model[0], model.base_model.model[2])}
    assert kinds <= {MemoryEfficientLora, FactoredDora}
    return model


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert found.dtype == expected.dtype
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@METHODS
@pytest.mark.parametrize("way", WAYS)
def test_outputs_and_gradients_equal_peft(way: str, use_dora: bool) -> None:
    dtype, factors, within, products = WAYS[way]
    model = stock(dtype, factors, use_dora)
    x = torch.randn(3, 5, INPUTS, generator=torch.Generator().manual_seed(1)).to(dtype)

    def run(model: PeftModel) -> list[Tensor]:
        leaf = x.clone().requires_grad_()
        with within():
            y = model(leaf)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
        return [y.detach(), leaf.grad, *(p.grad for p in model.parameters() if p.requires_grad)]

    for found, expected in zip(run(ours(model)), run(model), strict=True):
        assert_near(found, expected, ROUNDING[products])


@METHODS
@pytest.mark.parametrize("without", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("way", WAYS)
def test_outputs_without_gradients_equal_peft(
    way: str, without: Callable[[], AbstractContextManager[object]], use_dora: bool
) -> None:
    dtype, factors, within, products = WAYS[way]
    model = stock(dtype, factors, use_dora)
    changed = ours(model)
    for shape in [(3, 5, INPUTS), (7, INPUTS), (INPUTS,), (0, INPUTS)]:
        x = torch.randn(shape).to(dtype)
        with without(), within():
            found, expected = changed(x), model(x)
        assert found.shape == shape
        if expected.numel():
            assert_near(found, expected.view_as(found), ROUNDING[products])  # peft's DoRA makes a row of a vector


@METHODS
def test_training_works_after_inference_mode(use_dora: bool) -> None:
    model = ours(stock(FP32, FP32, use_dora))
    x = torch.randn(5, INPUTS)
    with torch.inference_mode():
        before = model(x)
    y = model(x)
    y.square().sum().backward()
    torch.testing.assert_close(y, before, rtol=1e-6, atol=1e-6)
    assert all(p.grad.any() for p in model.parameters() if p.requires_grad)


@METHODS
def test_a_model_created_in_inference_mode(use_dora: bool) -> None:
    x = torch.randn(5, INPUTS)
    with torch.inference_mode():
        model = stock(FP32, FP32, use_dora)
        assert_near(ours(model)(x), model(x), ROUNDING[FP32])


@METHODS
def test_scale_layer_equals_peft(use_dora: bool) -> None:
    model = stock(FP32, FP32, use_dora)
    changed, x = ours(model), torch.randn(5, INPUTS)
    changed(x)
    for each in (model, changed):
        for index in (0, 2):
            each.base_model.model[index].scale_layer(0.5)
    assert_near(changed(x), model(x), ROUNDING[FP32])


@METHODS
def test_stock_peft_loads_saved_layers(tmp_path: Path, use_dora: bool) -> None:
    model = ours(stock(FP32, FP32, use_dora))
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(base(FP32), tmp_path)
    x = torch.randn(5, INPUTS)
    assert_near(model(x), again(x), ROUNDING[FP32])


@METHODS
@pytest.mark.parametrize("safe", [False, True])
@pytest.mark.parametrize(("dtype", "factors"), [(FP32, FP32), (BF16, FP32), (BF16, BF16), (FP16, FP16)])
def test_merging_equals_peft(dtype: torch.dtype, factors: torch.dtype, safe: bool, use_dora: bool) -> None:
    model = stock(dtype, factors, use_dora)
    changed, x = ours(model), torch.randn(5, INPUTS).to(dtype)
    before = changed(x).detach()
    for each in (model, changed):
        each.merge_adapter(safe_merge=safe)
    assert_near(changed(x), model(x), ROUNDING[dtype])
    assert_near(changed(x), before, 3 * ROUNDING[dtype])
    for each in (model, changed):
        each.unmerge_adapter()
    assert_near(changed(x), model(x), 3 * ROUNDING[dtype])
    merged, expected = (each.merge_and_unload(safe_merge=safe) for each in (changed, model))
    assert {type(layer) for layer in merged} == {nn.Linear, nn.LayerNorm}
    for found, wanted in zip(merged.parameters(), expected.parameters(), strict=True):
        assert_near(found, wanted, ROUNDING[dtype])


@METHODS
def test_a_disabled_adapter_is_the_base(use_dora: bool) -> None:
    model, x = ours(stock(BF16, FP32, use_dora)), torch.randn(5, INPUTS).to(BF16)
    adapted = model(x)
    with model.disable_adapter():
        assert torch.equal(model(x), base(BF16)(x))
    assert torch.equal(model(x), adapted)
    assert not torch.equal(adapted, base(BF16)(x))


def test_lora_bias_is_refused() -> None:
    config = LoraConfig(r=RANK, target_modules=["0"], lora_bias=True)
    model = get_peft_model(nn.Sequential(nn.Linear(INPUTS, OUTPUTS)), config)
    with pytest.raises(ValueError, match="adapters with a bias"):
        use_memory_efficient_layers(model, "default")


@METHODS
def test_autocast_saves_no_more_than_peft(use_dora: bool) -> None:
    model = stock(FP32, FP32, use_dora)

    def kept(model: PeftModel) -> int:
        storages: dict[int, int] = {}
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), AUTOCAST(BF16):
            y = model(torch.randn(64, INPUTS, requires_grad=True))
        del y
        return sum(storages.values())

    assert kept(ours(model)) < kept(model)
