"""Conversion between NVIDIA's and diffusers' names changes no bit, on the shipped pocket and on a tiny model."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from safetensors.torch import load_file
from torch import Tensor

from worldtune.cli.main import run
from worldtune.core.tensors.read import read_tensors
from worldtune.errors import BaseError
from worldtune.models.convert import convert
from worldtune.models.resolve_base import pocket_folder

POCKET = pocket_folder() / "transformer"


def shipped() -> dict[str, Tensor]:
    return read_tensors(POCKET)


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_conversion_round_trips_to_the_bit(tmp_path: Path, ending: str) -> None:
    theirs, back = tmp_path / f"model{ending}", tmp_path / "transformer"
    done = convert(pocket_folder(), "nvidia", theirs)
    assert done.bases == ["pocket"]
    assert done.parameters == 4_118_400
    names = set(read_tensors(theirs))
    assert {"net.blocks.0.self_attn.q_proj.weight", "net.x_embedder.proj.1.weight"} <= names
    convert(theirs, "diffusers", back)
    again = read_tensors(back)
    assert again.keys() == shipped().keys()
    for name, tensor in shipped().items():
        assert again[name].dtype == tensor.dtype
        assert torch.equal(again[name], tensor)
    model = CosmosTransformer3DModel.from_pretrained(back)
    assert model.config.rope_scale == [1.0, 1.0, 1.0]


def test_left_out_tensors_are_named_with_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(POCKET, "nvidia", tmp_path / "net.pt")
    tensors = torch.load(tmp_path / "net.pt", weights_only=True)
    ema = {name.replace("net.", "net_ema."): tensor for name, tensor in tensors.items()}
    torch.save({**tensors, **ema, "net.accum_iteration": torch.tensor(3)}, tmp_path / "model.pt")
    arguments = ["bases", "convert", str(tmp_path / "model.pt"), "--to", "diffusers", "-o", str(tmp_path / "out")]
    assert run(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("4,118,400 parameters: the architecture of pocket")
    average = "moving average of the weights, which the file holds too"
    assert lines[1:-1] == [
        f"left out: net_ema.crossattn_proj.0.bias and 128 more ({average})",
        "left out: net.accum_iteration (counter of NVIDIA's trainer)",
    ]


def test_another_size_converts_with_its_config(tiny_world: Path, tmp_path: Path) -> None:
    convert(tiny_world, "nvidia", tmp_path / "tiny.safetensors")
    with pytest.raises(BaseError, match=r"no known base has these tensors.*--config"):
        convert(tmp_path / "tiny.safetensors", "diffusers", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    done = convert(
        tmp_path / "tiny.safetensors", "diffusers", tmp_path / "out", tiny_world / "transformer" / "config.json"
    )
    assert done.bases == []
    original = CosmosTransformer3DModel.from_pretrained(tiny_world / "transformer")
    converted = CosmosTransformer3DModel.from_pretrained(tmp_path / "out")
    assert {key: converted.config[key] for key in original.config if not key.startswith("_")} == {
        key: original.config[key] for key in original.config if not key.startswith("_")
    }


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("missing", "no known base"), ("extra", "unknown tensors: net.blocks.0.mlp.layer9.weight"),
        ("reshaped", "no known base"), ("adapter", "holds an adapter"), ("same", "already has diffusers's style"),
    ],
)  # fmt: skip
def test_unfit_tensors_are_refused_and_nothing_is_written(tmp_path: Path, harm: str, says: str) -> None:
    convert(POCKET, "nvidia", tmp_path / "model.pt")
    tensors = torch.load(tmp_path / "model.pt", weights_only=True)
    first = next(iter(tensors))
    match harm:
        case "missing":
            del tensors[first]
        case "extra":
            tensors["net.blocks.0.mlp.layer9.weight"] = torch.ones(1)
        case "reshaped":
            tensors[first] = tensors[first][:1]
        case "adapter":
            tensors["net.blocks.0.mlp.layer1.lora_A.default.weight"] = torch.ones(1, 1)
        case "same":
            tensors = shipped()
    torch.save(tensors, tmp_path / "harmed.pt")
    with pytest.raises(BaseError) as error:
        convert(tmp_path / "harmed.pt", "diffusers", tmp_path / "out")
    assert says in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["harmed.pt", "model.pt"]


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there.pt").write_text("mine")
    assert run(["bases", "convert", str(POCKET), "--to", "nvidia", "-o", str(tmp_path / "there.pt")]) == 2
    assert "the output already exists" in capsys.readouterr().err
    assert (tmp_path / "there.pt").read_text() == "mine"


def test_an_unknown_style_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bases", "convert", str(POCKET), "--to", "comfy", "-o", str(tmp_path / "x.pt")]) == 2
    assert "unknown naming style 'comfy'" in capsys.readouterr().err


def test_an_incomplete_config_is_refused(tmp_path: Path) -> None:
    config = json.loads((POCKET / "config.json").read_text())
    del config["rope_scale"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    convert(POCKET, "nvidia", tmp_path / "model.safetensors")
    assert sum(tensor.numel() for tensor in load_file(tmp_path / "model.safetensors").values()) == 4_118_400
    with pytest.raises(BaseError, match="rope_scale is not stated"):
        convert(tmp_path / "model.safetensors", "diffusers", tmp_path / "out", tmp_path / "config.json")
