"""Low-rank changes of a weight against peft's layers and numpy."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from support.adapters import SPECS, train_by_hand
from support.tiny_world import make_denoiser
from worldtune.adapters.folder import write_weights
from worldtune.adapters.formats import read_layers
from worldtune.adapters.layers.low_rank import LowRank, blended, closest, merged
from worldtune.adapters.merge import read_denoiser

W_OI = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


def layer(seed: int, rank: int = 2, alpha: float = 3.0, dora: bool = False) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    a_RI, b_OR = torch.randn(rank, 5, generator=generator), torch.randn(6, rank, generator=generator)
    return LowRank(a_RI, b_OR, alpha, torch.rand(6, generator=generator) + 0.5 if dora else None)


def test_a_lora_adds_the_scaled_product() -> None:
    one = layer(1, rank=2, alpha=3.0)
    assert torch.allclose(merged(W_OI, one), W_OI + 1.5 * one.b_OR @ one.a_RI, atol=1e-6)


def test_a_dora_s_magnitudes_are_its_row_norms() -> None:
    one = layer(1, dora=True)
    assert one.magnitude_O is not None
    assert torch.allclose(merged(W_OI, one).norm(dim=1), one.magnitude_O, atol=1e-6)


@pytest.mark.parametrize("dora", [False, True])
def test_strength_interpolates_linearly_from_the_base(dora: bool) -> None:
    one = layer(1, dora=dora)
    assert torch.equal(merged(W_OI, one, 0.0), W_OI)
    half = merged(W_OI, one, 0.5)
    assert torch.allclose(half, (W_OI + merged(W_OI, one)) / 2, atol=1e-6)


@pytest.mark.parametrize("name", SPECS)
def test_merged_equals_peft(name: str, tmp_path: Path) -> None:
    denoiser = make_denoiser()
    before = {key: tensor.clone() for key, tensor in denoiser.state_dict().items()}
    train_by_hand(denoiser, SPECS[name])
    layers = layers_of(denoiser, tmp_path)
    denoiser.fuse_lora()
    denoiser.unload_lora()
    after = denoiser.state_dict()
    assert len(layers) == 20
    for module, one in layers.items():
        assert torch.allclose(merged(before[f"{module}.weight"], one), after[f"{module}.weight"], atol=1e-5), module


def layers_of(denoiser: torch.nn.Module, folder: Path) -> dict[str, LowRank]:
    from peft import get_peft_model_state_dict

    config = denoiser.peft_config["default"].to_dict()
    config["target_modules"] = sorted(config["target_modules"])
    (folder / "adapter").mkdir()
    write_weights(folder / "adapter", dict(get_peft_model_state_dict(denoiser)), config)
    return read_layers(folder / "adapter").layers


@given(first=st.floats(-2, 2), second=st.floats(-2, 2))
def test_a_blend_is_the_weighted_sum(first: float, second: float) -> None:
    one, two = layer(1, rank=2, alpha=3), layer(2, rank=3, alpha=1)
    both = blended([one, two], [first, second])
    assert both.rank == 5
    assert torch.allclose(both.product(), first * one.product() + second * two.product(), atol=1e-5)


def test_blending_dora_is_refused() -> None:
    with pytest.raises(ValueError, match="magnitudes do not add up"):
        blended([layer(1, dora=True), layer(2)], [0.5, 0.5])


@pytest.mark.parametrize("rank", [1, 2, 5, 9])
def test_the_closest_lora_drops_the_smallest_singular_values(rank: int) -> None:
    one, kept = closest(W_OI, rank)
    singular = torch.linalg.svdvals(W_OI)
    left = (W_OI - one.product()).norm()
    assert left == pytest.approx(singular[rank:].square().sum().sqrt().item(), abs=1e-5)
    assert kept == pytest.approx((singular[:rank].square().sum() / singular.square().sum()).item(), rel=1e-5)


def test_a_denoiser_is_read_by_diffusers_names(tmp_path: Path) -> None:
    denoiser = make_denoiser()
    denoiser.save_pretrained(tmp_path / "transformer")
    assert read_denoiser(tmp_path).keys() == denoiser.state_dict().keys()
