"""Memory-efficient layers against peft and float64: outputs, gradients, and tensors saved for backward."""

import copy

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from worldtune.adapters.layers.factored_dora import use_memory_efficient_layers
from worldtune.adapters.layers.memory_efficient_lora import MemoryEfficientLora, add_low_rank, rescale


def peft_layer(dtype: torch.dtype) -> nn.Module:
    """Return a LoRA layer of peft with nonzero factors in fp32 or better."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40, bias=False)).to(dtype)
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=6, target_modules=["0"]), model)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.promote_types(dtype, torch.float32))
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


def lean(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    use_memory_efficient_layers(model, "default")
    assert isinstance(model[0].lora_variant["default"], MemoryEfficientLora)
    return model


def outputs_and_gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = model(x)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y.detach(), x.grad, *(p.grad for p in model.parameters() if p.requires_grad)]


@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (2, 3, 4, 24)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6), (torch.bfloat16, 2e-2)]
)
def test_outputs_and_gradients_equal_peft(shape: tuple[int, ...], dtype: torch.dtype, tolerance: float) -> None:
    model, x = peft_layer(dtype), torch.randn(shape).to(dtype)
    for ours, theirs in zip(outputs_and_gradients(lean(model), x), outputs_and_gradients(model, x), strict=True):
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("use_dora", [False, True])
def test_output_is_the_same_without_gradients(use_dora: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 40, bias=False))
    inject_adapter_in_model(LoraConfig(r=4, target_modules=["0"], use_dora=use_dora, init_lora_weights=False), model)
    use_memory_efficient_layers(model, "default")
    x = torch.randn(5, 24)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(model(x), expected, rtol=1e-6, atol=1e-6)


def test_an_input_without_requires_grad_gets_no_gradient() -> None:
    model, x = lean(peft_layer(torch.float32)), torch.randn(5, 24)
    model(x).sum().backward()
    assert x.grad is None
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def saved_bytes(model: nn.Module, x: Tensor) -> int:
    """Return the bytes that one forward pass saves for backward, without parameters, each storage once."""
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        y = model(x.requires_grad_())
    del y
    return sum(kept.values())


def test_lora_saves_only_its_input() -> None:
    model, x = peft_layer(torch.bfloat16), torch.randn(64, 24).bfloat16()
    assert saved_bytes(lean(model), x) == 64 * 24 * 2
    assert saved_bytes(model, x) > 64 * 24 * 2


def test_rescale_saves_its_output_and_not_its_input() -> None:
    kept: list[Tensor] = []
    z, magnitude, norm = torch.randn(6, 3, requires_grad=True), torch.rand(3).requires_grad_(), torch.rand(3)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = rescale(z * 1, magnitude, norm)
    assert [t.data_ptr() == y.data_ptr() for t in kept if t.shape == y.shape] == [True]
    torch.testing.assert_close(y, z * magnitude / norm)


def test_gradients_equal_finite_differences() -> None:
    torch.manual_seed(0)
    z, x, a, b = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((5, 7), (5, 6), (2, 6), (7, 2)))
    magnitude, norm = torch.rand(7).double().requires_grad_(), torch.rand(7).double() + 0.5

    def both(z: Tensor, x: Tensor, a: Tensor, b: Tensor, magnitude: Tensor) -> Tensor:
        return rescale(add_low_rank(z * 1, x, a, b, 1.5), magnitude, norm)

    assert torch.autograd.gradcheck(both, (z, x, a, b, magnitude))


def test_a_zero_magnitude_has_a_finite_gradient() -> None:
    z, magnitude = torch.randn(5, 3, requires_grad=True), torch.tensor([0.0, 1.0, 2.0], requires_grad=True)
    y = rescale(z * 1, magnitude, torch.ones(3))
    y.square().sum().backward()
    assert torch.equal(y[:, 0], torch.zeros(5))
    with torch.no_grad():  # the output is z · magnitude, since the norm is 1
        torch.testing.assert_close(magnitude.grad, 2 * magnitude * z.square().sum(0))
        torch.testing.assert_close(z.grad, 2 * magnitude.square() * z)


def test_dropout_is_refused() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    inject_adapter_in_model(LoraConfig(r=2, target_modules=["0"], lora_dropout=0.1), model)
    with pytest.raises(ValueError, match="with dropout"):
        use_memory_efficient_layers(model, "default")
