"""PiSSA and OLoRA initialization against peft, and the product of twice the rank against its dense form."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from support.tiny_world import make_denoiser
from worldtune.adapters.inject import inject
from worldtune.adapters.layers import initialization
from worldtune.adapters.layers.initialization import factors, frozen_factors, initial_factors
from worldtune.adapters.layers.memory_efficient_lora import add_low_rank
from worldtune.adapters.spec import AdapterSpec
from worldtune.errors import AdapterError


def pefts(w_OI: Tensor, rank: int, alpha: float, init: str) -> tuple[Tensor, Tensor]:
    model = nn.Sequential(nn.Linear(*reversed(w_OI.shape), bias=False))
    model[0].weight.data = w_OI.clone()
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, target_modules=["0"], init_lora_weights=init), model)
    return model[0].lora_A["default"].weight.detach(), model[0].lora_B["default"].weight.detach()


@pytest.mark.parametrize("shape", [(40, 24), (24, 40), (24, 24)])
@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_factors_equal_peft_up_to_sign(init: str, shape: tuple[int, int]) -> None:
    w_OI = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    (a_RI, b_OR), (theirs_RI, theirs_OR) = initial_factors(w_OI, 4, 1.5, init), pefts(w_OI, 4, 6.0, init)  # type: ignore[arg-type]
    sign_R = (b_OR * theirs_OR).sum(0).sign()
    torch.testing.assert_close(a_RI * sign_R[:, None], theirs_RI, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(b_OR * sign_R, theirs_OR, rtol=1e-5, atol=1e-5)


def test_a_large_weight_has_nearly_the_same_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(n, 48, generator=generator)).Q for n in (96, 48))
    w_OI = u @ torch.diag(torch.linspace(1, 0, 48) ** 3) @ v.t()
    whole = initial_factors(w_OI, 8, 2.0, "pissa")
    monkeypatch.setattr(initialization, "WHOLE", 16)
    torch.manual_seed(0)
    large = initial_factors(w_OI, 8, 2.0, "pissa")
    left, least = ((w_OI - 2.0 * b_OR @ a_RI).norm() for a_RI, b_OR in (large, whole))
    assert least < left < 1.001 * least
    torch.manual_seed(0)
    assert all(torch.equal(one, two) for one, two in zip(large, initial_factors(w_OI, 8, 2.0, "pissa"), strict=True))


sizes = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9))


@given(sizes=sizes, scale=st.floats(0.01, 30), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_joined_product_and_gradients_equal_the_dense_form(
    sizes: tuple[int, int, int], scale: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rank, inputs, outputs = sizes

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    w_OI, a0_RI, b0_OR = random(outputs, inputs), random(rank, inputs), random(outputs, rank)
    leaves = [random(5, inputs), random(rank, inputs), random(outputs, rank)]
    weight = random(5, outputs)
    found, expected = ([leaf.clone().requires_grad_() for leaf in leaves] for _ in range(2))
    x, a, b = found
    joined = torch.cat([a, a - a0_RI]), torch.cat([b - b0_OR, b0_OR], 1)
    ours = add_low_rank(x @ w_OI.t(), x, *joined, scale)
    x, a, b = expected
    dense = x @ (w_OI + scale * (b @ a - b0_OR @ a0_RI)).t()
    (ours * weight).sum().backward()
    (dense * weight).sum().backward()
    for one, two in ((ours, dense), *((f.grad, e.grad) for f, e in zip(found, expected, strict=True))):
        assert (one - two).abs().max() <= 1e-10 * max(1.0, two.abs().max().item())


@pytest.mark.parametrize("method", ["lora", "dora"])
def test_frozen_factors_are_restored_from_a_checkpoint(method: str) -> None:
    """A trainer copies them back by name; the output follows, and so does a DoRA's norm."""
    spec = AdapterSpec(method=method, rank=3, init="pissa")  # type: ignore[arg-type]
    denoiser, other = make_denoiser(), make_denoiser()
    parameters, again = inject(denoiser, spec, seed=0), inject(other, spec, seed=0)
    with torch.no_grad():
        for number, tensor in enumerate((*parameters.values(), *frozen_factors(denoiser).values())):
            tensor.add_(0.01 * (1 + number % 7))
    layer, twin = (model.transformer_blocks[1].attn1.to_v for model in (denoiser, other))
    x = torch.randn(5, 48)
    assert not torch.equal(layer(x), twin(x))
    kept, trained = copy.deepcopy(frozen_factors(denoiser)), copy.deepcopy(parameters)
    assert len(kept) == 40
    assert not set(kept) & set(parameters)
    with torch.no_grad():
        for name, parameter in again.items():
            parameter.copy_(trained[name])
        assert not torch.equal(layer(x), twin(x))
        for name, tensor in frozen_factors(other).items():
            tensor.copy_(kept[name])
    assert torch.equal(layer(x), twin(x))


def test_an_adapter_from_zero_has_no_frozen_factors() -> None:
    denoiser = make_denoiser()
    inject(denoiser, AdapterSpec(rank=2), seed=0)
    layer = denoiser.transformer_blocks[0].attn1.to_q
    assert frozen_factors(denoiser) == {}
    assert factors(layer, "default")[0] is layer.lora_A["default"].weight


def test_a_rank_above_the_weight_s_is_refused_before_wrapping() -> None:
    denoiser = make_denoiser()
    for init in ("pissa", "olora"):
        with pytest.raises(AdapterError, match=r"at most 16 factors for .*norm1.linear_1, not 20.*adapter.ranks"):
            inject(denoiser, AdapterSpec(rank=20, targets="attention+mlp+norm", init=init), seed=0)  # type: ignore[arg-type]
    assert not hasattr(denoiser, "peft_config")
    fitting = AdapterSpec(rank=20, targets="attention+mlp+norm", init="pissa", ranks={"linear_1": 16, "linear_2": 16})
    inject(denoiser, fitting, seed=0)


def test_peft_s_merge_uses_the_frozen_factors_or_is_refused() -> None:
    denoiser = make_denoiser()
    inject(denoiser, AdapterSpec(rank=2, init="pissa"), seed=0)
    layer = denoiser.transformer_blocks[0].attn1.to_q
    before = layer.base_layer.weight.detach().clone()
    layer.merge()
    assert torch.equal(layer.base_layer.weight, before)
    denoiser = make_denoiser()
    inject(denoiser, AdapterSpec(method="dora", rank=2, init="pissa"), seed=0)
    for safely in (False, True):
        with pytest.raises(ValueError, match="merge the saved adapter"):
            denoiser.transformer_blocks[0].attn1.to_q.merge(safe_merge=safely)
