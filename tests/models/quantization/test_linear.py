"""A quantized base against the original base, and against the dense weights that the codes represent."""

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor, nn

from support.adapters import train_by_hand
from support.tiny_world import make_denoiser
from worldtune.adapters.folder import remove_adapter
from worldtune.adapters.inject import adapter_parameters, expected_modules, inject, wrapped_modules
from worldtune.adapters.layers.factored_dora import ROWS
from worldtune.adapters.layers.initialization import initial_factors
from worldtune.adapters.layers.memory_efficient_lora import MemoryEfficientLora
from worldtune.adapters.spec import AdapterSpec
from worldtune.models.memory.activation_checkpoint import ActivationCheckpoint
from worldtune.models.quantization.linear import QuantizedLinear, quantize, weight_bytes
from worldtune.models.transformer.denoiser import Execution, forward

# of the tiny world: relative distance of the weights, and of the velocity
ERRORS = {"int8": (0.008, 0.02), "fp8": (0.03, 0.06), "nf4": (0.1, 0.25)}
KINDS = list(ERRORS)
X, KNOWN, TEXT = (torch.randn(shape, generator=torch.Generator().manual_seed(3)) for shape in (
    (2, 16, 3, 4, 4), (2, 3), (2, 8, 32),
))  # fmt: skip
SPECS = {
    "lora": AdapterSpec(rank=4, alpha=10),
    "dora": AdapterSpec(method="dora", rank=4, alpha=10, targets="attention+mlp+norm"),
    "pissa dora": AdapterSpec(method="dora", rank=4, init="pissa"),
}


def velocity(denoiser: CosmosTransformer3DModel) -> Tensor:
    dtype = denoiser.dtype
    return forward(denoiser, X.to(dtype), torch.full((2, 3), 0.5, dtype=dtype), KNOWN.to(dtype), TEXT.to(dtype))


def quantized(kind: str, dtype: torch.dtype = torch.float32) -> CosmosTransformer3DModel:
    denoiser = make_denoiser().to(dtype).requires_grad_(False)
    quantize(denoiser, kind)  # type: ignore[arg-type]
    return denoiser


def layers(denoiser: nn.Module) -> dict[str, QuantizedLinear]:
    return {name: module for name, module in denoiser.named_modules() if isinstance(module, QuantizedLinear)}


def distance(one: Tensor, other: Tensor) -> float:
    return ((one.double() - other.double()).norm() / other.double().norm()).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_weights_and_velocity_are_near_the_base_s(kind: str, dtype: torch.dtype) -> None:
    base, small = make_denoiser().to(dtype), quantized(kind, dtype)
    most_of_weights, most_of_velocity = ERRORS[kind]
    for name, layer in layers(small).items():
        assert layer.weight.dtype == dtype
        assert 0 < distance(layer.weight, base.get_submodule(name).weight) < most_of_weights
    assert 0 < distance(velocity(small), velocity(base)) < most_of_velocity


def test_only_attention_and_mlp_are_quantized() -> None:
    small = quantized("int8")
    parts = ("attn1.", "attn2.", "ff.")
    linears = {name for name, module in make_denoiser().named_modules() if isinstance(module, nn.Linear)}
    assert set(layers(small)) == {name for name in linears if name.split(".", 2)[-1].startswith(parts)}
    assert len(layers(small)) == 20


@pytest.mark.parametrize(("kind", "share"), [("int8", 0.55), ("fp8", 0.55), ("nf4", 0.32)])
def test_quantization_reduces_the_bytes_of_weights(kind: str, share: float) -> None:
    assert weight_bytes(quantized(kind, torch.bfloat16)) <= share * weight_bytes(make_denoiser().to(torch.bfloat16))
    held = sum(t.nbytes for t in quantized(kind, torch.bfloat16).state_dict().values())
    saved = weight_bytes(make_denoiser().to(torch.bfloat16)) * (1 - share)
    assert held <= sum(t.nbytes for t in make_denoiser().to(torch.bfloat16).state_dict().values()) - saved


@pytest.mark.parametrize("shape", [(64,), (7, 64), (2, 3, 64)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_backward_equal_the_dense_weight_s(
    kind: str, dtype: torch.dtype, tolerance: float, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer, x = QuantizedLinear(torch.randn(40, 64).to(dtype), kind), torch.randn(shape).to(dtype)  # type: ignore[arg-type]
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, dense = layer(ours), theirs @ layer.weight.t()
    grad = torch.randn_like(y)
    y.backward(grad)
    dense.backward(grad)
    for one, other in ((y, dense), (ours.grad, theirs.grad)):
        assert one.dtype == dtype
        assert distance(one, other) <= tolerance
    assert list(layer.parameters()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_autograd_saves_no_weight(kind: str) -> None:
    layer, kept = QuantizedLinear(torch.randn(40, 64), kind), []  # type: ignore[arg-type]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(torch.randn(5, 64, requires_grad=True)).sum().backward()
    assert kept == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_adapter_changes_no_bit(kind: str, name: str, dtype: torch.dtype) -> None:
    denoiser, spec = quantized(kind, dtype), SPECS[name]
    with torch.no_grad():
        before = velocity(denoiser)
    inject(denoiser, spec, seed=0)
    assert torch.equal(velocity(denoiser), before)
    assert len(wrapped_modules(denoiser)) == expected_modules(denoiser, spec)
    form = denoiser.transformer_blocks[0].attn1.to_q.lora_variant["default"]
    assert isinstance(form, MemoryEfficientLora) == (spec.method == "lora")
    remove_adapter(denoiser)
    assert torch.equal(velocity(denoiser), before)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_equal_those_over_dense_weights(kind: str, name: str) -> None:
    """Velocity and every gradient equal those of a base with the decoded weights."""
    small, dense = quantized(kind), make_denoiser()
    with torch.no_grad():
        for path, layer in layers(small).items():
            dense.get_submodule(path).weight.copy_(layer.weight)
    gradients = []
    for denoiser in (small, dense):
        train_by_hand(denoiser, SPECS[name])
        v = velocity(denoiser)
        v.square().sum().backward()
        gradients.append([v.detach(), *(p.grad for p in adapter_parameters(denoiser).values())])
    for one, other in zip(*gradients, strict=True):
        assert distance(one, other) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_recomputed_blocks_have_the_same_gradients(kind: str) -> None:
    gradients = []
    for mode in ("none", "full", "selective"):
        denoiser = quantized(kind)
        train_by_hand(denoiser, SPECS["dora"])
        how = Execution(activation_checkpoint=ActivationCheckpoint(mode))  # type: ignore[arg-type]
        forward(denoiser, X, torch.full((2, 3), 0.5), KNOWN, TEXT, how).square().sum().backward()
        gradients.append([p.grad for p in adapter_parameters(denoiser).values()])
    for kept, *again in zip(*gradients, strict=True):
        assert all(torch.equal(grad, kept) for grad in again)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dora_s_norm_in_chunks_equals_the_dense_one(
    kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    denoiser = make_denoiser().to(dtype)
    denoiser.transformer_blocks[0].attn1.to_q = nn.Linear(48, 2 * ROWS + 64, bias=False, dtype=dtype)
    quantize(denoiser, kind)  # type: ignore[arg-type]
    train_by_hand(denoiser, AdapterSpec(method="dora", rank=4, alpha=10))
    module, row_ranges, own = denoiser.transformer_blocks[0].attn1.to_q, [], QuantizedLinear.rows
    w, a, b = (t.detach().double() for t in (
        module.base_layer.weight, module.lora_A["default"].weight, module.lora_B["default"].weight,
    ))  # fmt: skip
    monkeypatch.setattr(QuantizedLinear, "rows", lambda layer, *ends: row_ranges.append(ends) or own(layer, *ends))
    module.lora_variant["default"].versions = ()
    norm_O = module.lora_variant["default"].norm(module, "default")
    torch.testing.assert_close(norm_O.double(), (w + 2.5 * b @ a).norm(dim=1), rtol=1e-6, atol=0)
    assert row_ranges == [(0, ROWS), (ROWS, 2 * ROWS), (2 * ROWS, 3 * ROWS)]


def test_pissa_uses_the_quantized_weight() -> None:
    denoiser = quantized("nf4")
    inject(denoiser, SPECS["pissa dora"], seed=0)
    layer = denoiser.transformer_blocks[1].ff.net[2]
    assert torch.equal(layer.lora_A0, initial_factors(layer.base_layer.weight, 4, 1.0, "pissa")[0])


def test_a_quantized_or_adapted_base_is_not_quantized_again() -> None:
    denoiser, wrapped = quantized("int8"), make_denoiser()
    inject(wrapped, SPECS["lora"], seed=0)
    for there in (denoiser, wrapped):
        before = list(there.state_dict())
        with pytest.raises(ValueError, match="quantize a base once, before its adapter"):
            quantize(there, "nf4")
        assert list(there.state_dict()) == before


@pytest.mark.parametrize("name", SPECS)
def test_merging_into_a_quantized_weight_is_refused(name: str) -> None:
    denoiser = quantized("fp8")
    inject(denoiser, SPECS[name], seed=0)
    with pytest.raises(ValueError, match="merge"):
        denoiser.transformer_blocks[0].attn1.to_q.merge()


@pytest.mark.parametrize("kind", KINDS)
def test_codes_keep_their_type_and_exist_on_the_meta_device(kind: str) -> None:
    layer = QuantizedLinear(torch.randn(8, 64).bfloat16(), kind)  # type: ignore[arg-type]
    codes = layer.codes.clone()
    assert torch.equal(layer.to(torch.float32).codes, codes)
    planned = QuantizedLinear(torch.empty(8, 64, device="meta"), kind)  # type: ignore[arg-type]
    assert planned(torch.empty(3, 64, device="meta")).shape == (3, 8)
    assert planned.codes.nbytes == layer.codes.nbytes


@pytest.mark.parametrize(("kind", "largest"), [("int8", 127), ("fp8", 448)])
def test_a_row_s_largest_weight_has_the_largest_code(kind: str, largest: int) -> None:
    weight_OI = torch.cat([torch.randn(6, 32), 1e-20 * torch.randn(1, 32), torch.zeros(1, 32)])
    layer = QuantizedLinear(weight_OI, kind)  # type: ignore[arg-type]
    values_OI = (layer.codes if kind == "int8" else layer.codes.view(torch.float8_e4m3fn)).float()
    assert torch.equal(values_OI[:-1].abs().amax(1), torch.full((7,), float(largest)))
    made_OI = layer.weight
    torch.testing.assert_close(made_OI.abs().amax(1), weight_OI.abs().amax(1), rtol=1e-6, atol=0)
    assert torch.equal(made_OI[-1], torch.zeros(32))


def test_rows_of_partial_blocks_are_refused() -> None:
    layer = QuantizedLinear(torch.randn(4, 48), "nf4")
    with pytest.raises(ValueError, match="rows 1 to 4 of 48 are not whole blocks"):
        layer.rows(1, 4)
