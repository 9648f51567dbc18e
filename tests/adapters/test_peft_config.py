import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from adapters.test_formats import MODULES, adapter
from worldtune.adapters.exchange import write_layers
from worldtune.adapters.folder import WEIGHTS
from worldtune.adapters.formats import METADATA, config_of, read_layers
from worldtune.errors import AdapterError

CONFIG = "adapter_config.json"


@pytest.fixture
def peft(tmp_path: Path) -> Path:
    """An adapter in PEFT's layout: a LoRA of rank 3 and alpha 6."""
    write_layers(adapter(dora=False), "peft", tmp_path / "adapter")
    return tmp_path / "adapter"


def state(folder: Path, **changes: Any) -> None:
    path = folder / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(path: Path, alpha: float | None = None) -> str:
    with pytest.raises(AdapterError) as error:
        read_layers(path, alpha)
    assert "\n" not in str(error.value)
    return error.value.what


@pytest.mark.parametrize(
    "changes",
    [
        *[{"lora_alpha": value} for value in (0, -16, 1e7, "16", [16], {"a": 1}, True)],
        *[{"alpha_pattern": {"to_q": value}} for value in (0, -1, 1e300, "16", None, [1])],
        *[{"alpha_pattern": value} for value in (3, "to_q", ["to_q"], {"((\\w|\\.)*)*!": 1}, {"(": 1}, {"to_[q": 1})],
        {"alpha_pattern": {f"to_q{number}": 1 for number in range(2000)}},
        {"alpha_pattern": {"(" * 5000: 1}},
        {"rank_pattern": {"to_q": "4"}},
        *[{"r": value} for value in (0, -1, 10**30, "8")],
        {"use_rslora": "yes"},
        {"use_dora": 1},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_configuration_that_is_not_sensible_names_the_key(peft: Path, changes: dict[str, Any]) -> None:
    state(peft, **changes)
    assert next(iter(changes)) in refusal(peft)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"lora_alpha": 6, "lora_alpha": 60}', "the key 'lora_alpha' is given twice"),
        ('{"lora_alpha": NaN}', "NaN is not a number"),
        ('{"lora_alpha": 1e999}', "too large"),
        ('{"lora_alpha": 1' + "0" * 400 + "}", "more than 40 digits"),
        ('{"lora_alpha": 6, "x": ' + "[" * 100_000, "nested deeper than 64"),
        (b'{"lora_alpha": 6, "x": "\xff"}', "not UTF-8 text"),
    ],
    ids=lambda part: str(part)[:30],
)
def test_a_configuration_that_readers_disagree_about_is_refused(peft: Path, content: str | bytes, says: str) -> None:
    (peft / CONFIG).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in refusal(peft)
    folder = peft.with_name("diffusers")
    write_layers(adapter(dora=False), "diffusers", folder)
    if isinstance(content, str):
        save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, metadata={METADATA: content})
        assert says in refusal(folder)


def test_a_header_states_a_key_once(tmp_path: Path) -> None:
    write_layers(adapter(dora=False), "diffusers", tmp_path / "a")
    path = tmp_path / "a" / WEIGHTS
    stated = json.dumps({"lora_alpha": 6, "transformer.lora_alpha": 60})
    save_file(load_file(path), path, metadata={METADATA: stated})
    assert "with and without 'transformer.'" in refusal(tmp_path / "a")


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 0.0, -1.0, 1e300])
def test_an_alpha_that_is_given_is_sensible(tmp_path: Path, alpha: float) -> None:
    write_layers(adapter(dora=False), "nvidia", tmp_path / "a.safetensors")
    assert "the alpha of transformer_blocks" in refusal(tmp_path / "a.safetensors", alpha)


@pytest.mark.parametrize("value", [[float("nan")], [float("inf")], [0.0], [-4.0], [1.0, 2.0], []])
def test_an_alpha_among_the_tensors_is_sensible(tmp_path: Path, value: list[float]) -> None:
    import torch

    write_layers(adapter(dora=False), "kohya", tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    name = next(name for name in tensors if name.endswith(".alpha"))
    save_file(tensors | {name: torch.tensor(value)}, tmp_path / "a.safetensors")
    assert "the alpha of transformer_blocks" in refusal(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "key", [r".*attn1\.to_q", r"^transformer_blocks\.\d+\.attn1\.to_q$", "attn1.(to_q|to_z)", "to_[q]"]
)
def test_patterns_that_people_write_are_read(peft: Path, key: str) -> None:
    state(peft, alpha_pattern={key: 64}, rank_pattern={key: 3}, lora_alpha=6.5, use_rslora=None)
    assert [read_layers(peft).layers[module].alpha for module in MODULES] == [64, 6.5, 6.5]


def test_a_pattern_for_every_layer_of_the_largest_base_is_read(peft: Path) -> None:
    linears = ("attn1.to_q", "attn1.to_out.0", "attn2.to_k", "ff.net.0.proj", "ff.net.2", "norm1.linear_1")
    listed = {f"transformer_blocks.{block}.{linear}": 8.0 for block in range(36) for linear in linears}
    state(peft, alpha_pattern=listed)
    assert read_layers(peft).layers["transformer_blocks.0.attn1.to_q"].alpha == 8


def test_what_peft_writes_by_itself_is_read(peft: Path) -> None:
    from peft import LoraConfig

    made = LoraConfig(**{key: config_of(adapter(dora=False))[key] for key in ("r", "lora_alpha", "target_modules")})
    made.save_pretrained(peft)
    assert {layer.alpha for layer in read_layers(peft).layers.values()} == {6}


def test_a_tensor_with_a_name_without_end_is_refused(tmp_path: Path) -> None:
    import torch

    save_file({"net." * 1000 + "x.lora_A.weight": torch.ones(2, 2)}, tmp_path / "a.safetensors")
    assert "a tensor's name has 4015 characters" in refusal(tmp_path / "a.safetensors")


def test_keys_as_diffusers_writes_them_are_read_however_many(peft: Path) -> None:
    """A ^ before every module's whole name; ranks are the tensors' own, whatever their keys are."""
    modules = [*MODULES, *(f"transformer_blocks.{block}.attn1.to_k" for block in range(2, 280))]
    state(peft, alpha_pattern={f"^{module}": 64 for module in modules}, rank_pattern={"(?<!x)(a+)+": 3}, lora_alpha=6.5)
    assert {layer.alpha for layer in read_layers(peft).layers.values()} == {64.0}
