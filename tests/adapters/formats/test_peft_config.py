import json
from pathlib import Path
from typing import Any

import pytest
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from adapters.test_formats import MODULES, adapter
from worldtune.adapters.folder import WEIGHTS
from worldtune.adapters.formats import METADATA, config_of, read_layers
from worldtune.adapters.formats.peft_config import APPLIED, NO_EFFECT, REFUSED
from worldtune.adapters.merge import write_layers
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
def test_an_invalid_value_names_its_key(peft: Path, changes: dict[str, Any]) -> None:
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
def test_ambiguous_json_is_refused(peft: Path, content: str | bytes, says: str) -> None:
    (peft / CONFIG).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in refusal(peft)
    folder = peft.with_name("diffusers")
    write_layers(adapter(dora=False), "diffusers", folder)
    if isinstance(content, str):
        save_file(load_file(folder / WEIGHTS), folder / WEIGHTS, metadata={METADATA: content})
        assert says in refusal(folder)


def test_duplicate_header_keys_are_refused(tmp_path: Path) -> None:
    write_layers(adapter(dora=False), "diffusers", tmp_path / "a")
    path = tmp_path / "a" / WEIGHTS
    stated = json.dumps({"lora_alpha": 6, "transformer.lora_alpha": 60})
    save_file(load_file(path), path, metadata={METADATA: stated})
    assert "both with and without 'transformer.'" in refusal(tmp_path / "a")


@pytest.mark.parametrize("alpha", [float("nan"), float("inf"), 0.0, -1.0, 1e300])
def test_a_user_alpha_out_of_range_is_refused(tmp_path: Path, alpha: float) -> None:
    write_layers(adapter(dora=False), "nvidia", tmp_path / "a.safetensors")
    assert "the alpha of transformer_blocks" in refusal(tmp_path / "a.safetensors", alpha)


@pytest.mark.parametrize("value", [[float("nan")], [float("inf")], [0.0], [-4.0], [1.0, 2.0], []])
def test_an_alpha_tensor_out_of_range_is_refused(tmp_path: Path, value: list[float]) -> None:
    import torch

    write_layers(adapter(dora=False), "kohya", tmp_path / "a.safetensors")
    tensors = load_file(tmp_path / "a.safetensors")
    name = next(name for name in tensors if name.endswith(".alpha"))
    save_file(tensors | {name: torch.tensor(value)}, tmp_path / "a.safetensors")
    assert "the alpha of transformer_blocks" in refusal(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "key", [r".*attn1\.to_q", r"^transformer_blocks\.\d+\.attn1\.to_q$", "attn1.(to_q|to_z)", "to_[q]"]
)
def test_common_patterns_are_read(peft: Path, key: str) -> None:
    state(peft, alpha_pattern={key: 64}, rank_pattern={key: 3}, lora_alpha=6.5, use_rslora=None)
    assert [read_layers(peft).layers[module].alpha for module in MODULES] == [64, 6.5, 6.5]


def test_a_pattern_for_every_layer_of_the_largest_base_is_read(peft: Path) -> None:
    linears = ("attn1.to_q", "attn1.to_out.0", "attn2.to_k", "ff.net.0.proj", "ff.net.2", "norm1.linear_1")
    listed = {f"transformer_blocks.{block}.{linear}": 8.0 for block in range(36) for linear in linears}
    state(peft, alpha_pattern=listed)
    assert read_layers(peft).layers["transformer_blocks.0.attn1.to_q"].alpha == 8


def test_peft_s_default_configuration_is_read(peft: Path) -> None:
    made = LoraConfig(**{key: config_of(adapter(dora=False))[key] for key in ("r", "lora_alpha", "target_modules")})
    made.save_pretrained(peft)
    assert {layer.alpha for layer in read_layers(peft).layers.values()} == {6}


def test_an_overlong_tensor_name_is_refused(tmp_path: Path) -> None:
    import torch

    save_file({"net." * 1000 + "x.lora_A.weight": torch.ones(2, 2)}, tmp_path / "a.safetensors")
    assert "a tensor's name has 4015 characters" in refusal(tmp_path / "a.safetensors")


def test_any_number_of_diffusers_keys_is_read(peft: Path) -> None:
    """diffusers writes ^ before each full module name; ranks come from the tensors, not from their keys."""
    modules = [*MODULES, *(f"transformer_blocks.{block}.attn1.to_k" for block in range(2, 280))]
    state(peft, alpha_pattern={f"^{module}": 64 for module in modules}, rank_pattern={"(?<!x)(a+)+": 3}, lora_alpha=6.5)
    assert {layer.alpha for layer in read_layers(peft).layers.values()} == {64.0}


def test_every_key_of_the_installed_peft_is_known() -> None:
    keys = set(LoraConfig().to_dict())
    assert keys <= APPLIED | NO_EFFECT | REFUSED.keys()
    assert not NO_EFFECT & (APPLIED | REFUSED.keys())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "LOKR"}, "its peft_type is LOKR"),
        (
            {"init_lora_weights": "pissa_niter_16"},
            "is 'pissa_niter_16': PEFT changed the base's weights",
        ),
        ({"init_lora_weights": "loftq"}, "init_lora_weights is 'loftq'"),
        ({"init_lora_weights": "of_2028"}, "PEFT may have changed the base"),
        ({"layer_replication": [[0, 2]]}, "layer_replication: it repeats blocks"),
        ({"lora_bias": True}, "lora_bias"),
        ({"modules_to_save": ["proj_out"]}, "modules_to_save = proj_out"),
        ({"use_of_2028": True}, "use_of_2028 = True, which this worldtune does not support"),
        ({"config_of_2028": {"a": 1}}, "config_of_2028"),
    ],
    ids=str,
)
def test_unsupported_keys_are_refused_by_name(peft: Path, changes: dict[str, Any], says: str) -> None:
    state(peft, **changes)
    assert says in refusal(peft)


@pytest.mark.parametrize("start", [True, False, None, "gaussian", "orthogonal", "eva", "mica"])
def test_initializations_that_keep_the_base_have_no_effect(peft: Path, start: Any) -> None:
    state(peft, init_lora_weights=start, fan_in_fan_out=True, layer_replication=None, lora_bias=False)
    assert read_layers(peft).notes == ()


def test_an_unknown_setting_is_noted(peft: Path) -> None:
    state(peft, group_of_2028=16, use_of_2028=False, config_of_2028={}, bias="all")
    first, second = read_layers(peft).notes
    assert first == "group_of_2028 = 16 of its configuration is unknown and ignored"
    assert "bias = all" in second
