"""Every kind of adapter has the same output in stock diffusers, in worldtune, and in every other format."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from diffusers.loaders import CosmosLoraLoaderMixin
from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from support.adapters import SPECS, edit_card, make_card, train_by_hand
from support.tiny_world import make_denoiser
from worldtune.adapters.folder import WEIGHTS, load_adapter, load_adapters, save_adapter
from worldtune.adapters.formats import Format, read_layers
from worldtune.adapters.from_foreign import spec_of
from worldtune.adapters.inject import expected_modules, inject, wrapped_modules
from worldtune.adapters.layers.initialization import frozen_factors
from worldtune.adapters.merge import blend, diff, merge, write_layers
from worldtune.adapters.module_spec import ModuleSpec
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.files import digest_file
from worldtune.errors import AdapterError
from worldtune.models.transformer.denoiser import forward

RANKS = {"ff.net.2": 2, "attn2.to_k": 6, "to_k": 3}
VARIANTS = SPECS | {
    "rslora": AdapterSpec(rank=4, alpha=3, rslora=True),
    "ranks": AdapterSpec(rank=4, alpha=10, ranks=RANKS),
    "ranks and rslora": AdapterSpec(rank=5, alpha=3, ranks=RANKS, rslora=True),
    "pissa": AdapterSpec(rank=4, alpha=10, init="pissa"),
    "pissa dora": AdapterSpec(method="dora", rank=4, alpha=10, init="pissa"),
    "olora": AdapterSpec(rank=4, init="olora"),
    "olora dora": AdapterSpec(method="dora", rank=4, init="olora", ranks=RANKS),
    "pissa, ranks and rslora": AdapterSpec(rank=5, alpha=3, init="pissa", ranks=RANKS, rslora=True),
    "norm": AdapterSpec(method="dora", rank=3, targets="attention+mlp+norm"),
    "listed": AdapterSpec(rank=3, targets=("attn1.to_q", "0", "linear_2", "proj_out"), ranks={"norm_out.linear_2": 2}),
}
X, KNOWN, TEXT = (torch.randn(shape, generator=torch.Generator().manual_seed(3)) for shape in (
    (2, 16, 3, 4, 4), (2, 3), (2, 8, 32),
))  # fmt: skip


@torch.no_grad()
def output(denoiser: CosmosTransformer3DModel) -> Tensor:
    dtype = denoiser.dtype
    return forward(denoiser, X.to(dtype), torch.full((2, 3), 0.5, dtype=dtype), KNOWN.to(dtype), TEXT.to(dtype))


def save(name: str, folder: Path) -> CosmosTransformer3DModel:
    denoiser = make_denoiser()
    train_by_hand(denoiser, VARIANTS[name])
    save_adapter(folder, denoiser, make_card(VARIANTS[name], "base"))
    return denoiser


def in_stock(folder: Path) -> CosmosTransformer3DModel:
    """Return the tiny base with the adapter, loaded by diffusers alone."""
    denoiser = make_denoiser()
    tensors, metadata = CosmosLoraLoaderMixin.lora_state_dict(folder, return_lora_metadata=True)
    CosmosLoraLoaderMixin.load_lora_into_transformer(tensors, denoiser, metadata=metadata)
    return denoiser


def in_peft(folder: Path) -> CosmosTransformer3DModel:
    model = get_peft_model(make_denoiser(), LoraConfig.from_pretrained(folder))
    report = set_peft_model_state_dict(model, load_peft_weights(str(folder), device="cpu"))
    assert report.unexpected_keys == []
    assert not [key for key in report.missing_keys if "lora" in key]
    return model.base_model.model


@pytest.mark.parametrize("name", VARIANTS)
def test_stock_diffusers_has_the_same_output(name: str, tmp_path: Path) -> None:
    ours = output(save(name, tmp_path / "adapter"))
    assert (output(in_stock(tmp_path / "adapter")) - ours).abs().max() <= 1e-5
    assert (output(make_denoiser()) - ours).abs().max() > 1e-2


@pytest.mark.parametrize("name", VARIANTS)
def test_a_reload_has_the_same_output_bit_for_bit(name: str, tmp_path: Path) -> None:
    ours, again = output(save(name, tmp_path / "adapter")), make_denoiser()
    card = load_adapter(tmp_path / "adapter", again, "base")
    assert torch.equal(output(again), ours)
    assert card.adapter == VARIANTS[name].as_saved
    assert card.adapter.init == "zero"
    assert frozen_factors(again) == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", VARIANTS)
def test_a_new_adapter_changes_no_bit(name: str, dtype: torch.dtype) -> None:
    denoiser = make_denoiser().to(dtype)
    base = output(denoiser)
    weights = {key: tensor.clone() for key, tensor in denoiser.state_dict().items()}
    inject(denoiser, VARIANTS[name], seed=0)
    assert torch.equal(output(denoiser), base)
    now = {key.replace(".base_layer", ""): tensor for key, tensor in denoiser.state_dict().items()}
    assert all(torch.equal(now[key], tensor) for key, tensor in weights.items())
    assert len(wrapped_modules(denoiser)) == expected_modules(denoiser, VARIANTS[name])


@pytest.mark.parametrize("name", VARIANTS)
def test_a_new_adapter_has_gradients(name: str) -> None:
    """PiSSA and OLoRA have gradients of A and B; an adapter that starts at zero only of B."""
    denoiser = make_denoiser()
    parameters = inject(denoiser, VARIANTS[name], seed=0)
    forward(denoiser, X, torch.full((2, 3), 0.5), KNOWN, TEXT).square().sum().backward()
    still = {key for key, parameter in parameters.items() if not parameter.grad.any()}
    assert all("lora_A" in key for key in still)
    assert bool(still) == (VARIANTS[name].init == "zero")


@pytest.mark.parametrize("to", ["diffusers", "peft", "nvidia", "comfyui", "kohya"])
@pytest.mark.parametrize("name", VARIANTS)
def test_conversion_keeps_the_change(name: str, to: Format, tmp_path: Path) -> None:
    ours = output(save(name, tmp_path / "adapter"))
    layers = read_layers(tmp_path / "adapter").layers
    out = tmp_path / ("there" if to in ("diffusers", "peft") else "there.safetensors")
    write_layers(layers, to, out)
    back = read_layers(out, "rank" if to == "nvidia" else None).layers  # NVIDIA's alpha is merged into B
    assert back.keys() == layers.keys()
    for module, layer in layers.items():
        torch.testing.assert_close(back[module].product(), layer.product(), rtol=1e-5, atol=1e-6)
    if to in ("diffusers", "peft"):
        assert (output(in_stock(out) if to == "diffusers" else in_peft(out)) - ours).abs().max() <= 1e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_a_merged_base_has_the_same_output(name: str, tmp_path: Path) -> None:
    ours = output(save(name, tmp_path / "adapter"))
    make_denoiser().save_pretrained(tmp_path / "base")
    merge(tmp_path / "base", [(read_layers(tmp_path / "adapter"), 1.0)], tmp_path / "merged")
    merged = CosmosTransformer3DModel.from_pretrained(tmp_path / "merged")
    assert (output(merged) - ours).abs().max() <= 2e-5


@pytest.mark.parametrize("name", [name for name, spec in VARIANTS.items() if spec.method == "lora"])
def test_blending_with_itself_changes_nothing(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    ours, other = output(save(name, folder)), make_denoiser()
    layers = read_layers(folder).layers
    assert max(diff(layers, blend([(layers, 0.25), (layers, 0.75)], None)[0]).distance.values()) < 1e-5
    load_adapters([(folder, 0.5), (folder, 0.5)], other, "base")
    assert (output(other) - ours).abs().max() <= 2e-5


@pytest.mark.parametrize("name", VARIANTS)
def test_an_imported_spec_loads(name: str, tmp_path: Path) -> None:
    """rsLoRA with several ranks has several scales alpha/rank, which needs a `ModuleSpec`."""
    save(name, tmp_path / "adapter")
    layers, spec = read_layers(tmp_path / "adapter").layers, VARIANTS[name].as_saved
    denoiser = make_denoiser()
    found = spec_of(layers, tmp_path, len(denoiser.transformer_blocks))
    if spec.rslora and spec.ranks:
        assert isinstance(found, ModuleSpec)
    else:
        assert found.linears == spec.linears
    assert found.method == spec.method
    inject(denoiser, found, seed=0)
    for module, layer in layers.items():
        assert denoiser.get_submodule(module).scaling["default"] == pytest.approx(layer.scale, rel=1e-12)


HEADER = {"transformer.r": 7, "transformer.use_rslora": True, "transformer.rank_pattern": {"attn1.to_q": 2},
          "transformer.alpha_pattern": {"attn1.to_q": 2.0}, "transformer.target_modules": ["to_q"],
          "transformer.lora_alpha": 1, "transformer.use_dora": True}  # fmt: skip


@pytest.mark.parametrize("key", HEADER)
def test_a_header_that_disagrees_with_the_card_is_refused(key: str, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    save("lora", folder)
    with safe_open(folder / WEIGHTS, "pt") as file:
        header = json.loads(file.metadata()["lora_adapter_metadata"])
    assert header[key] != HEADER[key]
    metadata = {"lora_adapter_metadata": json.dumps(header | {key: HEADER[key]})}
    save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, metadata=metadata)
    edit_card(folder, weights_digest=digest_file(folder / WEIGHTS))
    with pytest.raises(AdapterError, match=f"its card says {key.removeprefix('transformer.')} = "):
        load_adapter(folder, make_denoiser(), "base")


@pytest.mark.parametrize("name", ["rslora", "ranks", "pissa", "norm", "listed"])
def test_the_header_is_peft_s_configuration(name: str, tmp_path: Path) -> None:
    save(name, tmp_path / "adapter")
    with safe_open(tmp_path / "adapter" / WEIGHTS, "pt") as file:
        stated = json.loads(file.metadata()["lora_adapter_metadata"])
    config = LoraConfig(**{key.removeprefix("transformer."): value for key, value in stated.items()})
    spec = VARIANTS[name].as_saved
    assert (config.r, config.use_rslora, config.rank_pattern) == (spec.rank, spec.rslora, spec.rank_pattern)
    denoiser = in_stock(tmp_path / "adapter")
    for module, layer in read_layers(tmp_path / "adapter").layers.items():
        assert denoiser.get_submodule(module).scaling["default_0"] == pytest.approx(layer.scale, rel=1e-12)
