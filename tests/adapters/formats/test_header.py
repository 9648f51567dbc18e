"""alpha from a header, from a configuration next to a named file, or from the user."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from worldtune.adapters.formats import Alpha, read_layers
from worldtune.errors import AdapterError

MODULES = ("transformer_blocks.0.attn1.to_q", "transformer_blocks.0.ff.net.2")


def write(path: Path, ranks: tuple[int, int] = (4, 4), **metadata: str) -> Path:
    tensors = {}
    for module, rank in zip(MODULES, ranks, strict=True):
        tensors[f"{module}.lora_A.weight"] = torch.ones(rank, 5)
        tensors[f"{module}.lora_B.weight"] = torch.ones(6, rank)
    save_file(tensors, path, metadata=metadata or None)
    return path


def alphas(path: Path, given: Alpha | None = None) -> list[float]:
    return [layer.alpha for layer in read_layers(path, given).layers.values()]


def refusal(path: Path, given: Alpha | None = None) -> str:
    with pytest.raises(AdapterError) as error:
        read_layers(path, given)
    return str(error.value)


@pytest.mark.parametrize(
    "metadata",
    [
        {"ss_network_alpha": "8.0", "ss_network_dim": "4"},
        {"ss_network_alpha": "8"},
        {"network_alpha": "8", "rank": "4"},
        {"lora_alpha": "8", "ss_network_alpha": "None"},
        {"lora_config": json.dumps({"r": 4, "lora_alpha": 8})},
        {"lora_config": json.dumps({"rank": 4, "alpha": 8})},
        {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 8}), "lora_alpha": "9"},
    ],
)
def test_a_header_alpha_is_read(metadata: dict[str, str], tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", **metadata)
    assert alphas(path) == [8, 8]
    read = read_layers(path, 2.0)
    assert [layer.alpha for layer in read.layers.values()] == [8, 8]
    assert read.notes == ("--alpha is not used: the file states its alpha",)


@pytest.mark.parametrize("text", ["None", "Dynamic", "", "nan", "inf", "sixteen"])
def test_a_header_without_a_number_states_no_alpha(text: str, tmp_path: Path) -> None:
    assert "does not state its alpha" in refusal(write(tmp_path / "a.safetensors", ss_network_alpha=text))


@pytest.mark.parametrize("text", ["0", "-4", "1e300"])
def test_a_header_alpha_out_of_range_is_refused(text: str, tmp_path: Path) -> None:
    assert "the alpha of transformer_blocks" in refusal(write(tmp_path / "a.safetensors", ss_network_alpha=text))


def test_two_header_alphas_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", lora_alpha="8", network_alpha="4")
    assert "two alphas: network_alpha = 4, lora_alpha = 8" in refusal(path)


def test_a_header_alpha_for_another_rank_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", (16, 4), ss_network_alpha="16", ss_network_dim="16")
    assert "ss_network_alpha = 16 for all layers, which have ranks 4 and 16" in refusal(path)
    assert alphas(path, "rank") == [16, 4]
    resized = write(tmp_path / "b.safetensors", ss_network_alpha="16", ss_network_dim="16")
    assert "for rank 16, and its layers have rank 4" in refusal(resized)
    assert alphas(resized, 4.0) == [4, 4]


def test_one_user_alpha_for_several_ranks_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", (16, 4))
    assert "have ranks 4 and 16, and one --alpha would give them different strengths" in refusal(path, 16.0)
    assert "Use --alpha rank." in refusal(path, 16.0)
    assert alphas(path, "rank") == [16, 4]


def test_the_configuration_next_to_a_named_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 8}')
    assert alphas(path) == alphas(tmp_path) == [8, 8]
    renamed = path.rename(tmp_path / "robot.safetensors")
    assert alphas(renamed) == [8, 8]
    write(tmp_path / "another.safetensors")
    assert "does not state its alpha" in refusal(renamed), "it may be of the other file"
