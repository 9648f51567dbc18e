"""The factored DoRA against peft's dense form and against float64."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from worldtune.adapters.layers.factored_dora import CANCELED, FactoredDora, row_norm, use_memory_efficient_layers


def layer(rank: int = 4, alpha: float = 6.0) -> nn.Module:
    """Return a small DoRA layer of peft with nonzero factors."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40, bias=False))
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"], use_dora=True)
    inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
        elif "magnitude" in name:
            parameter.data *= 1.3
    return model


def factored(dense: nn.Module) -> nn.Module:
    """Return a copy in the factored form, with the magnitude of `dense`."""
    model = copy.deepcopy(dense)
    magnitude = model[0].lora_magnitude_vector["default"].weight.detach().clone()
    use_memory_efficient_layers(model, "default")
    model[0].lora_magnitude_vector["default"].weight.data = magnitude
    return model


def outputs_and_gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = model(x)
    (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    trained = [p.grad for p in model.parameters() if p.requires_grad]
    assert len(trained) == 3
    return [y.detach(), x.grad, *trained]


@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (2, 3, 4, 24)])
def test_outputs_and_gradients_equal_peft(shape: tuple[int, ...]) -> None:
    dense = layer()
    x = torch.randn(shape)
    for ours, theirs in zip(outputs_and_gradients(factored(dense), x), outputs_and_gradients(dense, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-5)


def test_float64_outputs_and_gradients_equal_peft_to_ten_digits() -> None:
    dense = layer().double()
    x = torch.randn(7, 24).double()
    for ours, theirs in zip(outputs_and_gradients(factored(dense), x), outputs_and_gradients(dense, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_a_new_adapter_over_bf16_changes_no_bit() -> None:
    model = nn.Sequential(nn.Linear(64, 40, bias=False)).bfloat16()
    x = torch.randn(9, 64).bfloat16()
    before = model(x)
    inject_adapter_in_model(LoraConfig(r=4, target_modules=["0"], use_dora=True), model)
    use_memory_efficient_layers(model, "default")
    assert model[0].lora_magnitude_vector["default"].weight.dtype == torch.float32
    for gradients in (True, False):
        with torch.set_grad_enabled(gradients):
            assert torch.equal(model(x), before)


@given(scale=st.floats(0.01, 30), seed=st.integers(0, 1000))
def test_norm_equals_the_dense_norm_in_float64(scale: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    w, a, b = (torch.randn(shape, generator=generator) for shape in ((20, 12), (3, 12), (20, 3)))
    truth = (w.double() + scale * (b.double() @ a.double())).norm(dim=1)
    torch.testing.assert_close(row_norm(w, a, b, scale).double(), truth, rtol=1e-5, atol=0)


@pytest.mark.parametrize("left", [0.3, 0.03, 1e-3])
def test_a_nearly_canceled_row_is_precise(left: float) -> None:
    torch.manual_seed(1)
    a, b = torch.randn(3, 12), torch.randn(5, 3)
    w = -(b @ a) * (1 - left)
    truth = (w.double() + b.double() @ a.double()).norm(dim=1)
    assert ((truth / w.double().norm(dim=1)) ** 2 < CANCELED).all() == (left < 0.1)
    torch.testing.assert_close(row_norm(w, a, b, 1.0).double(), truth, rtol=1e-4, atol=0)


def test_a_new_adapter_changes_no_bit() -> None:
    model = nn.Sequential(nn.Linear(24, 40, bias=False))
    x = torch.randn(9, 24)
    before = model(x)
    inject_adapter_in_model(LoraConfig(r=4, target_modules=["0"], use_dora=True), model)
    use_memory_efficient_layers(model, "default")
    assert torch.equal(model(x), before)


def test_the_norm_follows_every_change_of_the_factors() -> None:
    model = factored(layer())
    form = model[0].lora_variant["default"]
    assert isinstance(form, FactoredDora)
    x = torch.randn(4, 24)
    first = model(x).detach()
    kept = form.norm_O
    model(x)
    assert form.norm_O is kept, "the norm is kept while nothing changes"
    with torch.no_grad():
        model[0].lora_B["default"].weight.detach().copy_(torch.randn(40, 4))
    changed = model(x).detach()
    assert form.norm_O is not kept
    assert not torch.equal(first, changed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    kept = form.norm_O
    model(x).sum().backward()
    optimizer.step()
    model(x)
    assert form.norm_O is not kept


def test_bias_and_dropout_are_refused() -> None:
    for model, dropout, reason in (
        (nn.Linear(8, 8), 0.0, "without bias"),
        (nn.Linear(8, 8, bias=False), 0.1, "dropout"),
    ):
        wrapped = nn.Sequential(model)
        inject_adapter_in_model(LoraConfig(r=2, target_modules=["0"], use_dora=True, lora_dropout=dropout), wrapped)
        with pytest.raises(ValueError, match=reason):
            use_memory_efficient_layers(wrapped, "default")
