"""Every format round-trips, and is read by its own library where that is installed."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from support.adapters import SPECS, make_card, train_by_hand
from support.tiny_world import make_denoiser
from worldtune.adapters.folder import WEIGHTS, save_adapter
from worldtune.adapters.formats import Format, config_of, name_layers, read_layers
from worldtune.adapters.layers.low_rank import LowRank
from worldtune.adapters.merge import write_layers
from worldtune.errors import AdapterError

FORMATS: tuple[Format, ...] = ("diffusers", "peft", "nvidia", "comfyui", "kohya")
MODULES = ("transformer_blocks.0.attn1.to_q", "transformer_blocks.1.attn2.to_out.0", "transformer_blocks.1.ff.net.2")
NVIDIA = ("blocks.0.self_attn.q_proj", "blocks.1.cross_attn.output_proj", "blocks.1.mlp.layer2")


def adapter(dora: bool, alpha: float = 6.0) -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(0)
    return {
        module: LowRank(
            torch.randn(3, 5, generator=generator),
            torch.randn(4, 3, generator=generator),
            alpha,
            torch.rand(4, generator=generator) if dora else None,
        )
        for module in MODULES
    }


def assert_same(found: dict[str, LowRank], expected: dict[str, LowRank]) -> None:
    assert found.keys() == expected.keys()
    for module, layer in expected.items():
        assert torch.allclose(found[module].product(), layer.product(), rtol=1e-6)
        magnitude_O = found[module].magnitude_O
        assert (magnitude_O is None) == (layer.magnitude_O is None)
        assert layer.magnitude_O is None or torch.equal(magnitude_O, layer.magnitude_O)  # type: ignore[arg-type]


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("to", FORMATS)
def test_every_format_round_trips(to: Format, dora: bool, tmp_path: Path) -> None:
    out = tmp_path / ("adapter" if to in ("diffusers", "peft") else "adapter.safetensors")
    write_layers(adapter(dora), to, out)
    alpha = 3.0 if to == "nvidia" else None  # NVIDIA's format has no alpha: it is merged into B
    read = read_layers(out, alpha)
    assert_same(read.layers, adapter(dora))
    assert read.left_out == {}


@given(ranks=st.tuples(*[st.integers(1, 4)] * 3), alphas=st.tuples(*[st.sampled_from([1.0, 8.0])] * 3))
def test_ranks_and_alphas_by_module_round_trip(
    ranks: tuple[int, ...], alphas: tuple[float, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    layers = {
        module: LowRank(torch.ones(rank, 5), torch.ones(4, rank), alpha)
        for module, rank, alpha in zip(MODULES, ranks, alphas, strict=True)
    }
    for to in ("diffusers", "peft"):
        out = tmp_path_factory.mktemp("formats") / "adapter"
        write_layers(layers, to, out)  # type: ignore[arg-type]
        found = read_layers(out).layers
        assert {name: (layer.rank, layer.alpha) for name, layer in found.items()} == dict(
            zip(MODULES, zip(ranks, alphas, strict=True), strict=True)
        )


@pytest.mark.parametrize(
    ("to", "names"),
    [
        ("diffusers", [f"transformer.{module}.lora_A.weight" for module in MODULES]),
        ("peft", [f"base_model.model.{module}.lora_A.weight" for module in MODULES]),
        ("nvidia", [f"net.{module}.lora_A.default.weight" for module in NVIDIA]),
        ("comfyui", [f"diffusion_model.{module}.lora_down.weight" for module in NVIDIA]),
        ("kohya", [f"lora_unet_{module.replace('.', '_')}.lora_down.weight" for module in NVIDIA]),
    ],
)
def test_names_are_the_tool_s(to: Format, names: list[str]) -> None:
    assert set(names) <= set(name_layers(adapter(dora=False), to))


def test_comfyui_s_dora_scale_is_over_outputs() -> None:
    """`weight_decompose` uses the outputs if dora_scale has as many rows as the weight."""
    tensors = name_layers(adapter(dora=True), "comfyui")
    assert tensors[f"diffusion_model.{NVIDIA[0]}.dora_scale"].shape == (4, 1)
    assert float(tensors[f"diffusion_model.{NVIDIA[0]}.alpha"]) == 6.0


@pytest.mark.parametrize("name", SPECS)
def test_peft_reads_the_peft_format(name: str, tmp_path: Path) -> None:
    denoiser = make_denoiser()
    train_by_hand(denoiser, SPECS[name])
    save_adapter(tmp_path / "ours", denoiser, make_card(SPECS[name], "base"))
    write_layers(read_layers(tmp_path / "ours").layers, "peft", tmp_path / "peft")
    config = LoraConfig.from_pretrained(tmp_path / "peft")
    model = get_peft_model(make_denoiser(), config)
    report = set_peft_model_state_dict(model, load_peft_weights(str(tmp_path / "peft"), device="cpu"))
    assert report.unexpected_keys == []
    assert not [key for key in report.missing_keys if "lora" in key]
    x = torch.randn(1, 7, 48)
    ours = denoiser.transformer_blocks[0].attn1.to_q(x)
    theirs = model.base_model.model.transformer_blocks[0].attn1.to_q(x)
    assert (ours - theirs).abs().max() < 1e-5
    assert (ours - make_denoiser().transformer_blocks[0].attn1.to_q(x)).abs().max() > 1e-2


def test_an_adapter_is_found_in_nvidia_s_full_checkpoint(tmp_path: Path) -> None:
    tensors = {
        "net.blocks.0.self_attn.q_proj.base_layer.weight": torch.ones(4, 5),
        "net.blocks.0.self_attn.q_proj.lora_A.default.weight": torch.ones(2, 5),
        "net.blocks.0.self_attn.q_proj.lora_B.default.weight": torch.ones(4, 2),
        "net.x_embedder.proj.1.weight": torch.ones(3, 3),
        "net_ema.blocks.0.self_attn.q_proj.lora_A.default.weight": torch.ones(2, 5),
    }
    torch.save(tensors, tmp_path / "model.pt")
    read = read_layers(tmp_path / "model.pt", alpha=2.0)
    assert list(read.layers) == [MODULES[0]]
    assert read.layers[MODULES[0]].scale == 1.0
    assert list(read.left_out) == ["net_ema.blocks.0.self_attn.q_proj.lora_A.default.weight"]
    assert sorted(read.other_weights) == ["patch_embed.proj.weight", "transformer_blocks.0.attn1.to_q.weight"]


def test_a_missing_alpha_is_not_guessed(tmp_path: Path) -> None:
    write_layers(adapter(dora=False), "nvidia", tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match=r"does not state its alpha.*a\.safetensors.*--alpha"):
        read_layers(tmp_path / "a.safetensors")


def test_rslora_scale_is_alpha_over_root_rank(tmp_path: Path) -> None:
    write_layers(adapter(dora=False, alpha=6.0), "peft", tmp_path / "a")
    path = tmp_path / "a" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"use_rslora": True}))
    assert read_layers(tmp_path / "a").layers[MODULES[0]].scale == pytest.approx(6 / 3**0.5)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({f"transformer.{MODULES[0]}.lora_B.weight": None}, r"attn1.to_q has no up \(B\) matrix"),
        ({f"transformer.{MODULES[0]}.lora_B.weight": torch.ones(4, 9)}, "do not fit together"),
        ({f"transformer.{MODULES[0]}.lora_magnitude_vector": torch.ones(5)}, "5 magnitudes for 4 outputs"),
        ({f"transformer.{MODULES[0]}.lora_magnitude_vector": None}, "lacks the magnitude of transformer_blocks.0"),
        (
            {"transformer.transformer_blocks.0.attn9.to_q.lora_A.weight": torch.ones(3, 5)},
            "to no LoRA or DoRA of a Cosmos",
        ),
        ({"text_model.encoder.lora_A.weight": torch.ones(3, 5)}, "to no LoRA or DoRA of a Cosmos"),
    ],
)
def test_an_incomplete_adapter_is_refused(change: dict[str, torch.Tensor | None], says: str, tmp_path: Path) -> None:
    write_layers(adapter(dora=True), "diffusers", tmp_path / "a")
    path = tmp_path / "a" / WEIGHTS
    tensors = load_file(path) | change
    header = {"lora_adapter_metadata": json.dumps(config_of(adapter(dora=True)), default=str)}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path, metadata=header)
    with pytest.raises(AdapterError, match=says):
        read_layers(tmp_path / "a")


def test_a_file_without_an_adapter_is_refused(tmp_path: Path) -> None:
    save_file({"net.x_embedder.proj.1.weight": torch.ones(2, 2)}, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match="the file contains no adapter"):
        read_layers(tmp_path / "a.safetensors")


@pytest.mark.parametrize("strange", ["lora_B.bias", "hada_w1_a", "diff", "oft_blocks"])
def test_unsupported_tensors_are_refused_not_dropped(strange: str, tmp_path: Path) -> None:
    tensors = {name: tensor.contiguous() for name, tensor in name_layers(adapter(dora=False), "diffusers").items()}
    save_file(tensors | {f"transformer.{MODULES[0]}.{strange}": torch.ones(2)}, tmp_path / "a.safetensors")
    with pytest.raises(AdapterError, match=f"not to a LoRA or DoRA.*{strange}"):
        read_layers(tmp_path / "a.safetensors", alpha=3.0)


@pytest.mark.parametrize(
    "pattern", ["to_q", MODULES[0], NVIDIA[0], "self_attn.q_proj", r"transformer_blocks\.\d+\.attn1\.to_q"]
)
def test_alpha_patterns_match_as_in_peft(pattern: str, tmp_path: Path) -> None:
    write_layers(adapter(dora=False), "peft", tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"alpha_pattern": {pattern: 64}}))
    assert [read_layers(tmp_path / "adapter").layers[module].alpha for module in MODULES] == [64, 6, 6]


@pytest.mark.parametrize(("content", "says"), [("", "not JSON"), ("{", "not JSON"), ("[]", "not a JSON object")])
def test_an_invalid_configuration_is_a_one_line_error(content: str, says: str, tmp_path: Path) -> None:
    write_layers(adapter(dora=False), "peft", tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text(content)
    with pytest.raises(AdapterError, match=says):
        read_layers(tmp_path / "adapter")


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64])
@pytest.mark.parametrize("part", ["lora_down.weight", "lora_up.weight", "alpha"])
def test_factors_that_are_not_floating_point_are_refused(part: str, kind: torch.dtype, tmp_path: Path) -> None:
    tensors = name_layers(adapter(False), "kohya")
    name = next(name for name in tensors if name.endswith(part))
    save_file(tensors | {name: tensors[name].to(kind)}, tmp_path / "x.safetensors")
    with pytest.raises(AdapterError, match=f"has type {kind}, not floating point"):
        read_layers(tmp_path / "x.safetensors")


def test_an_integer_alpha_is_read(tmp_path: Path) -> None:
    tensors = name_layers(adapter(False), "kohya")
    whole = {name: tensor.long() if name.endswith("alpha") else tensor for name, tensor in tensors.items()}
    save_file(whole, tmp_path / "x.safetensors")
    assert_same(read_layers(tmp_path / "x.safetensors").layers, adapter(False))


def test_factors_of_rank_0_are_refused(tmp_path: Path) -> None:
    name = f"transformer.{MODULES[0]}"
    factors = {f"{name}.lora_A.weight": torch.ones(0, 4), f"{name}.lora_B.weight": torch.ones(4, 0)}
    save_file(factors, tmp_path / "x.safetensors")
    with pytest.raises(AdapterError, match="do not fit together"):
        read_layers(tmp_path / "x.safetensors", 4.0)
