"""A quantised base against the one it was made of, and against the dense weights that it stands for."""

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor, nn

from support.adapters import train_by_hand
from support.tiny_world import make_denoiser
from worldtune.adapters.factored_dora import ROWS
from worldtune.adapters.folder import remove_adapter
from worldtune.adapters.inject import adapter_parameters, expected_modules, inject, wrapped_modules
from worldtune.adapters.lean import LeanLora
from worldtune.adapters.spec import AdapterSpec
from worldtune.adapters.start import starting_factors
from worldtune.worlds.denoiser import Execution, denoise
from worldtune.worlds.quantised import QuantisedLinear, quantise, weight_bytes
from worldtune.worlds.recompute import Recompute

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
    return denoise(denoiser, X.to(dtype), torch.full((2, 3), 0.5, dtype=dtype), KNOWN.to(dtype), TEXT.to(dtype))


def quantised(kind: str, dtype: torch.dtype = torch.float32) -> CosmosTransformer3DModel:
    denoiser = make_denoiser().to(dtype).requires_grad_(False)
    quantise(denoiser, kind)  # type: ignore[arg-type]
    return denoiser


def layers(denoiser: nn.Module) -> dict[str, QuantisedLinear]:
    return {name: module for name, module in denoiser.named_modules() if isinstance(module, QuantisedLinear)}


def distance(one: Tensor, other: Tensor) -> float:
    return ((one.double() - other.double()).norm() / other.double().norm()).item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_weights_and_velocity_are_near_those_of_the_base(kind: str, dtype: torch.dtype) -> None:
    base, small = make_denoiser().to(dtype), quantised(kind, dtype)
    most_of_weights, most_of_velocity = ERRORS[kind]
    for name, layer in layers(small).items():
        assert layer.weight.dtype == dtype
        assert 0 < distance(layer.weight, base.get_submodule(name).weight) < most_of_weights
    assert 0 < distance(velocity(small), velocity(base)) < most_of_velocity


def test_attention_and_mlp_are_quantised_and_nothing_else() -> None:
    small = quantised("int8")
    parts = ("attn1.", "attn2.", "ff.")
    linears = {name for name, module in make_denoiser().named_modules() if isinstance(module, nn.Linear)}
    assert set(layers(small)) == {name for name in linears if name.split(".", 2)[-1].startswith(parts)}
    assert len(layers(small)) == 20


@pytest.mark.parametrize(("kind", "share"), [("int8", 0.55), ("fp8", 0.55), ("nf4", 0.32)])
def test_the_weights_bytes_fall(kind: str, share: float) -> None:
    assert weight_bytes(quantised(kind, torch.bfloat16)) <= share * weight_bytes(make_denoiser().to(torch.bfloat16))
    held = sum(t.nbytes for t in quantised(kind, torch.bfloat16).state_dict().values())
    saved = weight_bytes(make_denoiser().to(torch.bfloat16)) * (1 - share)
    assert held <= sum(t.nbytes for t in make_denoiser().to(torch.bfloat16).state_dict().values()) - saved


@pytest.mark.parametrize("shape", [(64,), (7, 64), (2, 3, 64)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("kind", KINDS)
def test_forward_and_backward_are_those_of_the_dense_weight(
    kind: str, dtype: torch.dtype, tolerance: float, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    layer, x = QuantisedLinear(torch.randn(40, 64).to(dtype), kind), torch.randn(shape).to(dtype)  # type: ignore[arg-type]
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
def test_autograd_keeps_no_weight(kind: str) -> None:
    layer, kept = QuantisedLinear(torch.randn(40, 64), kind), []  # type: ignore[arg-type]
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer(torch.randn(5, 64, requires_grad=True)).sum().backward()
    assert kept == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_newborn_adapter_changes_nothing_bit_for_bit(kind: str, name: str, dtype: torch.dtype) -> None:
    denoiser, spec = quantised(kind, dtype), SPECS[name]
    with torch.no_grad():
        before = velocity(denoiser)
    inject(denoiser, spec, seed=0)
    assert torch.equal(velocity(denoiser), before)
    assert len(wrapped_modules(denoiser)) == expected_modules(denoiser, spec)
    form = denoiser.transformer_blocks[0].attn1.to_q.lora_variant["default"]
    assert isinstance(form, LeanLora) == (spec.method == "lora")
    remove_adapter(denoiser)
    assert torch.equal(velocity(denoiser), before)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_trains_as_over_the_dense_weights(kind: str, name: str) -> None:
    """Velocity and every gradient, with the base's weights written out as those that the codes stand for."""
    small, dense = quantised(kind), make_denoiser()
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
def test_blocks_that_are_computed_again_have_the_same_gradients(kind: str) -> None:
    gradients = []
    for mode in ("none", "full", "selective"):
        denoiser = quantised(kind)
        train_by_hand(denoiser, SPECS["dora"])
        how = Execution(recompute=Recompute(mode))  # type: ignore[arg-type]
        denoise(denoiser, X, torch.full((2, 3), 0.5), KNOWN, TEXT, how).square().sum().backward()
        gradients.append([p.grad for p in adapter_parameters(denoiser).values()])
    for kept, *again in zip(*gradients, strict=True):
        assert all(torch.equal(grad, kept) for grad in again)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dora_s_norm_is_that_of_the_dense_weight_made_some_rows_at_a_time(
    kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    denoiser = make_denoiser().to(dtype)
    denoiser.transformer_blocks[0].attn1.to_q = nn.Linear(48, 2 * ROWS + 64, bias=False, dtype=dtype)
    quantise(denoiser, kind)  # type: ignore[arg-type]
    train_by_hand(denoiser, AdapterSpec(method="dora", rank=4, alpha=10))
    module, asked, own = denoiser.transformer_blocks[0].attn1.to_q, [], QuantisedLinear.rows
    w, a, b = (t.detach().double() for t in (
        module.base_layer.weight, module.lora_A["default"].weight, module.lora_B["default"].weight,
    ))  # fmt: skip
    monkeypatch.setattr(QuantisedLinear, "rows", lambda layer, *ends: asked.append(ends) or own(layer, *ends))
    module.lora_variant["default"].versions = ()
    norm_O = module.lora_variant["default"].norm(module, "default")
    torch.testing.assert_close(norm_O.double(), (w + 2.5 * b @ a).norm(dim=1), rtol=1e-6, atol=0)
    assert asked == [(0, ROWS), (ROWS, 2 * ROWS), (2 * ROWS, 3 * ROWS)]


def test_pissa_starts_at_the_quantised_weight() -> None:
    denoiser = quantised("nf4")
    inject(denoiser, SPECS["pissa dora"], seed=0)
    layer = denoiser.transformer_blocks[1].ff.net[2]
    assert torch.equal(layer.lora_A0, starting_factors(layer.base_layer.weight, 4, 1.0, "pissa")[0])


def test_what_is_quantised_or_carries_an_adapter_is_not_quantised() -> None:
    denoiser, wrapped = quantised("int8"), make_denoiser()
    inject(wrapped, SPECS["lora"], seed=0)
    for there in (denoiser, wrapped):
        before = list(there.state_dict())
        with pytest.raises(ValueError, match="quantise a base once, before its adapter"):
            quantise(there, "nf4")
        assert list(there.state_dict()) == before


@pytest.mark.parametrize("name", SPECS)
def test_nothing_is_merged_into_a_quantised_weight(name: str) -> None:
    denoiser = quantised("fp8")
    inject(denoiser, SPECS[name], seed=0)
    with pytest.raises(ValueError, match="merge"):
        denoiser.transformer_blocks[0].attn1.to_q.merge()


@pytest.mark.parametrize("kind", KINDS)
def test_codes_outlive_a_change_of_the_module_s_type_and_need_no_data_to_plan(kind: str) -> None:
    layer = QuantisedLinear(torch.randn(8, 64).bfloat16(), kind)  # type: ignore[arg-type]
    codes = layer.codes.clone()
    assert torch.equal(layer.to(torch.float32).codes, codes)
    planned = QuantisedLinear(torch.empty(8, 64, device="meta"), kind)  # type: ignore[arg-type]
    assert planned(torch.empty(3, 64, device="meta")).shape == (3, 8)
    assert planned.codes.nbytes == layer.codes.nbytes


@pytest.mark.parametrize(("kind", "largest"), [("int8", 127), ("fp8", 448)])
def test_a_row_s_largest_weight_has_the_largest_code_and_rows_of_zeros_stay(kind: str, largest: int) -> None:
    weight_OI = torch.cat([torch.randn(6, 32), 1e-20 * torch.randn(1, 32), torch.zeros(1, 32)])
    layer = QuantisedLinear(weight_OI, kind)  # type: ignore[arg-type]
    values_OI = (layer.codes if kind == "int8" else layer.codes.view(torch.float8_e4m3fn)).float()
    assert torch.equal(values_OI[:-1].abs().amax(1), torch.full((7,), float(largest)))
    made_OI = layer.weight
    torch.testing.assert_close(made_OI.abs().amax(1), weight_OI.abs().amax(1), rtol=1e-6, atol=0)
    assert torch.equal(made_OI[-1], torch.zeros(32))


def test_rows_of_parts_of_blocks_are_refused() -> None:
    layer = QuantisedLinear(torch.randn(4, 48), "nf4")
    with pytest.raises(ValueError, match="rows 1 to 4 of 48 are no whole blocks"):
        layer.rows(1, 4)
