"""Readers of adapters: those of other tools, cards, and our own folders."""

import re
from pathlib import Path
from typing import Any

from worldtune.adapters.card import CARD, WEIGHTS, read_card
from worldtune.adapters.exchange import write_layers
from worldtune.adapters.folder import read_sound_card
from worldtune.adapters.formats import read_layers
from worldtune.adapters.low_rank import LowRank
from worldtune.bench.fuzzing.oracle import json_of
from worldtune.bench.fuzzing.reader import Reader, RefusedError
from worldtune.bench.fuzzing.tensors import meaning_of, safetensors_of
from worldtune.bench.fuzzing.text import REGEX_BOMB
from worldtune.bench.fuzzing.weights import drawn
from worldtune.bench.registry_site import make_adapter
from worldtune.tensor_files import read_tensors

MODULES = tuple(f"transformer_blocks.{n}.attn1.to_{part}" for n in range(2) for part in "qk")
CONFIG, PEFT = "adapter_config.json", "adapter_model.safetensors"


def _make_peft(folder: Path) -> None:
    layers = {
        name: LowRank(drawn(4 if n else 2, 8, seed=n), drawn(8, 4 if n else 2, seed=9 + n), 8.0 if n else 2.0)
        for n, name in enumerate(MODULES)
    }
    write_layers(layers, "peft", folder / "adapter")


def _read_peft(folder: Path) -> dict[str, Any]:
    found = read_layers(folder / "adapter")
    layers = {name: (meaning_of({"a": its.a_RI, "b": its.b_OR}), its.alpha) for name, its in found.layers.items()}
    return {"layers": layers, "left out": sorted(found.left_out)}


def _peft_of(folder: Path) -> dict[str, Any]:
    """Alpha by peft's rules: the first pattern at the end of a name. Modules that the sample has not are refused."""
    config, tensors = json_of(folder / "adapter" / CONFIG), safetensors_of(folder / "adapter" / PEFT)
    layers = {}
    for name in sorted({re.sub(r"\.lora_[AB]\.weight$", "", name) for name in tensors}):
        module = name.removeprefix("base_model.model.")
        try:
            its = {"a": tensors[f"{name}.lora_A.weight"], "b": tensors[f"{name}.lora_B.weight"]}
        except KeyError as error:
            raise RefusedError("half of a layer is missing, or its name is another") from error
        layers[module] = (its, _alpha(config, module, its["a"][1][0]))
    if not set(layers) <= set(MODULES):
        raise RefusedError("it names modules that the sample has not")
    return {"layers": layers, "left out": []}


def _alpha(config: Any, module: str, rank: int) -> float:
    patterns = config.get("alpha_pattern") if isinstance(config, dict) else None
    values = [config.get("lora_alpha")] if isinstance(config, dict) else []
    if not isinstance(patterns, dict | None) or not values or config.get("use_rslora") not in (None, False, True):
        raise RefusedError("it is no configuration of peft's")
    for key, value in (patterns or {}).items():
        if REGEX_BOMB not in key and _fits(key, module):
            values.insert(0, value)
            break
    if isinstance(values[0], bool) or not isinstance(values[0], int | float):
        raise RefusedError("alpha is no number")
    return float(values[0] * (rank**0.5 if config.get("use_rslora") else 1))


def _fits(key: str, module: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({key})$", module) is not None
    except re.error:
        return False


def _make_adapter(folder: Path) -> None:
    make_adapter(folder / "adapter")


def _read_card(folder: Path) -> Any:
    return read_card(folder / "adapter").model_dump(mode="json")


def _read_adapter(folder: Path) -> dict[str, Any]:
    card = read_sound_card(folder / "adapter", (folder / "base").read_text())
    return {"card": card.model_dump(mode="json"), "tensors": meaning_of(read_tensors(folder / "adapter" / WEIGHTS))}


def _make_adapter_and_base(folder: Path) -> None:
    _make_adapter(folder)
    (folder / "base").write_text(read_card(folder / "adapter").base_digest)


READERS = (
    Reader(
        "PEFT adapter",
        "strict JSON, the specification of safetensors and peft's rules",
        _make_peft,
        _read_peft,
        _peft_of,
    ),
    Reader("adapter card", "what was written", _make_adapter, _read_card, files=(f"adapter/{CARD}",)),
    Reader("adapter folder", "what was written", _make_adapter_and_base, _read_adapter, files=("adapter/*",)),
)
