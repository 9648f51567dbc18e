"""Contents of a file other than a plain LoRA: each is read correctly or refused by name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from worldtune.adapters.formats import name_layers, read_layers
from worldtune.adapters.formats.full_weights import drop_base_weights, drop_other_weights
from worldtune.adapters.layers.low_rank import LowRank, blended, merged
from worldtune.adapters.merge import merge
from worldtune.errors import AdapterError

MODULE, NVIDIA = "transformer_blocks.0.attn1.to_q", "blocks.0.self_attn.q_proj"
SQUARE, OBLONG = (6, 6), (8, 6)


def factors(shape: tuple[int, int]) -> dict[str, Tensor]:
    outputs, inputs = shape
    generator = torch.Generator().manual_seed(0)
    return {
        "lora_down.weight": torch.randn(2, inputs, generator=generator),
        "lora_up.weight": torch.randn(outputs, 2, generator=generator),
        "alpha": torch.tensor(3.0),
    }


def write(folder: Path, tensors: dict[str, Tensor], **metadata: str) -> Path:
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "a.safetensors", metadata or None)
    return folder / "a.safetensors"


def lora(prefix: str = f"lora_unet_{NVIDIA.replace('.', '_')}", shape: tuple[int, int] = SQUARE) -> dict[str, Tensor]:
    return {f"{prefix}.{part}": tensor for part, tensor in factors(shape).items()}


@pytest.mark.parametrize("shape", [SQUARE, OBLONG], ids=["square", "oblong"])
@pytest.mark.parametrize("over", ["inputs", "outputs"])
def test_dora_scale_applies_to_the_axis_of_its_shape(shape: tuple[int, int], over: str, tmp_path: Path) -> None:
    """LyCORIS has (1, I) or (O, 1). On a square layer the number of magnitudes does not tell."""
    w_OI, dim = torch.randn(shape, generator=torch.Generator().manual_seed(1)), 0 if over == "inputs" else 1
    scale = 1.05 * w_OI.norm(dim=dim, keepdim=True)
    read = read_layers(
        write(tmp_path, lora(shape=shape) | {f"lora_unet__{NVIDIA.replace('.', '_')}.dora_scale": scale})
    )
    parts = factors(shape)
    changed = w_OI + 1.5 * parts["lora_up.weight"] @ parts["lora_down.weight"]
    want = scale * changed / changed.norm(dim=dim, keepdim=True)
    layer = read.layers[MODULE]
    assert torch.allclose(merged(w_OI, layer), want, atol=1e-5)
    assert not torch.allclose(merged(w_OI, LowRank(layer.a_RI, layer.b_OR, layer.alpha)), want, atol=0.1)
    for to in ("comfyui", "kohya"):
        back = read_layers(write(tmp_path, {k: t.contiguous() for k, t in name_layers(read.layers, to).items()}))  # type: ignore[arg-type]
        assert torch.allclose(merged(w_OI, back.layers[MODULE]), want, atol=1e-5)


@pytest.mark.parametrize("to", ["diffusers", "peft", "nvidia"])
def test_peft_cannot_represent_a_dora_over_inputs(to: str) -> None:
    layer = LowRank(torch.ones(2, 6), torch.ones(6, 2), 2.0, magnitude_I=torch.ones(6))
    with pytest.raises(AdapterError, match=f"is a DoRA over inputs .*which {to} cannot represent"):
        name_layers({MODULE: layer}, to)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="magnitudes do not add up"):
        blended([layer, layer], [0.5, 0.5])


@pytest.mark.parametrize(
    ("part", "shape"),
    [("dora_scale", (1, 8)), ("dora_scale", (6, 1)), ("dora_scale", (3,)), ("lora_magnitude_vector", (1, 8)),
     ("lora_magnitude_vector", (1, 6))],
)  # fmt: skip
def test_magnitudes_that_fit_neither_axis_are_refused(part: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    tensors = lora(f"transformer.{MODULE}", OBLONG) | {f"transformer.{MODULE}.{part}": torch.ones(shape)}
    with pytest.raises(AdapterError, match=f"{part} of .* is .*magnitudes for 8 outputs and 6 inputs"):
        read_layers(write(tmp_path, tensors))


@pytest.mark.parametrize(
    ("part", "kind"),
    [("lokr_w1", "LoKr"), ("hada_w1_a", "LoHa"), ("a1.weight", "GLoRA"), ("oft_blocks", "OFT"), ("diff", "diff"),
     ("lora_mid.weight", "convolution"), ("lora_B.bias", "lora_bias"), ("lora_E", "AdaLoRA"), ("lora_diag", "KaSA"),
     ("boft_R", "BOFT"), ("hra_u", "HRA"), ("vera_lambda_b", "VERA")],
)  # fmt: skip
def test_another_kind_of_adapter_is_named(part: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=f"to .*{kind}.*not to a LoRA or DoRA.*{part}"):
        read_layers(write(tmp_path, lora() | {f"transformer.{MODULE}.{part}": torch.ones(2)}))
    with pytest.raises(AdapterError, match=kind):
        read_layers(write(tmp_path, {f"lycoris_{NVIDIA.replace('.', '_')}.{part}": torch.ones(2)}))


def test_two_tensors_for_one_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match=f"two tensors are the alpha of {MODULE}"):
        read_layers(write(tmp_path, lora() | lora(f"diffusion_model.{NVIDIA}")))


@pytest.mark.parametrize("name", ["default", "default_0", "cell7"])
def test_peft_adapter_names_are_read(name: str, tmp_path: Path) -> None:
    tensors = {f"{MODULE}.lora_A.{name}.weight": torch.ones(2, 6), f"{MODULE}.lora_B.{name}.weight": torch.ones(6, 2)}
    scale = {f"{MODULE}.lora_magnitude_vector.{name}.weight": torch.ones(6)}
    assert read_layers(write(tmp_path, tensors | scale), 2.0).layers[MODULE].magnitude_O is not None
    other = {key.replace(name, "other").replace("attn1", "attn2"): tensor for key, tensor in tensors.items()}
    with pytest.raises(AdapterError, match=f"it holds 2 adapters: {name}, other"):
        read_layers(write(tmp_path, tensors | other), 2.0)


def test_peft_subfolder_of_a_named_adapter_is_found(tmp_path: Path) -> None:
    for name in ("left", "right"):
        (tmp_path / "all" / name).mkdir(parents=True)
        write(tmp_path / "all" / name, lora())
        (tmp_path / "all" / name / "adapter_config.json").write_text('{"lora_alpha": 8}')
    with pytest.raises(AdapterError, match=r"it holds 2 adapters: left, right.*Specify one of them"):
        read_layers(tmp_path / "all")
    (tmp_path / "all" / "left" / "a.safetensors").unlink()
    assert list(read_layers(tmp_path / "all").layers) == [MODULE]


def test_a_full_weight_in_an_adapter_file_is_trained(tmp_path: Path) -> None:
    read = read_layers(write(tmp_path, lora() | {"base_model.model.proj_out.weight": torch.ones(3, 3)}))
    assert list(read.trained) == ["proj_out.weight"]
    assert read.other_weights == read.left_out == {}
    with pytest.raises(AdapterError, match=r"proj_out.weight was trained in full \(modules_to_save\) and fits no LoRA"):
        drop_other_weights(read, "here")


def test_other_weights_of_a_full_checkpoint_must_equal_the_base(tmp_path: Path) -> None:
    own = {f"{MODULE}.weight": torch.randn(6, 6), "patch_embed.proj.weight": torch.randn(3, 3)}
    stored = {f"net.{NVIDIA}.base_layer.weight": own[f"{MODULE}.weight"].bfloat16(),
              "net.x_embedder.proj.1.weight": own["patch_embed.proj.weight"].bfloat16()}  # fmt: skip
    read = read_layers(write(tmp_path, lora(f"net.{NVIDIA}") | stored))
    assert read.trained == {}
    assert set(drop_other_weights(read, "here").left_out.values()) == {"a full weight, not compared with a base"}
    assert set(drop_base_weights(read, own, "here").left_out.values()) == {"equal to the base's weight"}
    own["patch_embed.proj.weight"][0, 0] += 1
    with pytest.raises(AdapterError, match=r"patch_embed\.proj\.weight in the file differs from this base's"):
        drop_base_weights(read, own, "here")


def test_modules_to_save_are_trained_in_a_full_checkpoint(tmp_path: Path) -> None:
    stored = {f"{MODULE}.base_layer.weight": torch.ones(6, 6), "proj_out.weight": torch.ones(3, 3)}
    config = json.dumps({"lora_alpha": 3, "modules_to_save": ["proj_out"]})
    read = read_layers(write(tmp_path, lora(MODULE) | stored, lora_adapter_metadata=config))
    assert list(read.trained) == ["proj_out.weight"]
    copies = {
        "proj_out.modules_to_save.default.weight": torch.ones(3, 3),
        "proj_out.original_module.weight": torch.zeros(3, 3),
    }
    found = read_layers(write(tmp_path, lora(MODULE) | copies)).trained["proj_out.weight"]
    assert torch.equal(found, torch.ones(3, 3))
    with pytest.raises(AdapterError, match="modules_to_save = proj_out, but the file has no weight of it"):
        read_layers(write(tmp_path, lora(MODULE), lora_adapter_metadata=config))


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_merge_changes_moving_averages_and_trained_weights(strength: float, tmp_path: Path) -> None:
    weights = {f"net.{NVIDIA}.weight": torch.ones(6, 6), f"net_ema.{NVIDIA}.weight": 2 * torch.ones(6, 6),
               "net.final_layer.linear.weight": torch.ones(3, 3)}  # fmt: skip
    save_file(weights, tmp_path / "base.safetensors")
    read = read_layers(write(tmp_path, lora() | {"proj_out.weight": 5 * torch.ones(3, 3)}))
    done = merge(tmp_path / "base.safetensors", [(read, strength)], tmp_path / "out.safetensors")
    from safetensors.torch import load_file

    found = load_file(tmp_path / "out.safetensors")
    change = strength * read.layers[MODULE].product()
    assert (done.weights, done.averages) == (2, 1)
    assert torch.allclose(found[f"net.{NVIDIA}.weight"], 1 + change, atol=1e-6)
    assert torch.allclose(found[f"net_ema.{NVIDIA}.weight"], 2 + change, atol=1e-6)
    assert torch.allclose(found["net.final_layer.linear.weight"], torch.full((3, 3), 1 + 4 * strength))
