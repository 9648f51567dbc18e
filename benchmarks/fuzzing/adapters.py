"""Readers of adapters: those of other tools, cards, and our own folders."""

import re
from pathlib import Path
from typing import Any

from benchmarks.fuzzing.oracle import parse_json_file
from benchmarks.fuzzing.reader import Reader, RefusedError
from benchmarks.fuzzing.tensors import parse_safetensors, summarize_tensors
from benchmarks.fuzzing.text import REGEX_BOMB
from benchmarks.fuzzing.weights import random_tensor
from benchmarks.registry.site import make_adapter
from worldtune.adapters.card import CARD, WEIGHTS, read_card
from worldtune.adapters.checkpoint import read_verified_card
from worldtune.adapters.formats import read_layers
from worldtune.adapters.layers.low_rank import LowRank
from worldtune.adapters.merge import write_layers
from worldtune.core.tensors.read import read_tensors

MODULES = tuple(f"transformer_blocks.{n}.attn1.to_{part}" for n in range(2) for part in "qk")
CONFIG, PEFT = "adapter_config.json", "adapter_model.safetensors"


def _make_peft(folder: Path) -> None:
    layers = {
        name: LowRank(
            random_tensor(4 if n else 2, 8, seed=n), random_tensor(8, 4 if n else 2, seed=9 + n), 8.0 if n else 2.0
        )
        for n, name in enumerate(MODULES)
    }
    write_layers(layers, "peft", folder / "adapter")


def _read_peft(folder: Path) -> dict[str, Any]:
    found = read_layers(folder / "adapter")
    layers = {
        name: (summarize_tensors({"a": factors.a_RI, "b": factors.b_OR}), factors.alpha)
        for name, factors in found.layers.items()
    }
    return {"layers": layers, "left out": sorted(found.left_out)}


def _expect_peft(folder: Path) -> dict[str, Any]:
    """Return what peft would read: alpha by the first matching pattern. Refuse modules that the sample lacks."""
    config, tensors = parse_json_file(folder / "adapter" / CONFIG), parse_safetensors(folder / "adapter" / PEFT)
    layers = {}
    for name in sorted({re.sub(r"\.lora_[AB]\.weight$", "", name) for name in tensors}):
        module = name.removeprefix("base_model.model.")
        try:
            factors = {"a": tensors[f"{name}.lora_A.weight"], "b": tensors[f"{name}.lora_B.weight"]}
        except KeyError as error:
            raise RefusedError("half of a layer is missing, or its name differs") from error
        layers[module] = (factors, _alpha(config, module, factors["a"][1][0]))
    if not set(layers) <= set(MODULES):
        raise RefusedError("it names modules that the sample does not have")
    return {"layers": layers, "left out": []}


def _alpha(config: Any, module: str, rank: int) -> float:
    patterns = config.get("alpha_pattern") if isinstance(config, dict) else None
    values = [config.get("lora_alpha")] if isinstance(config, dict) else []
    if not isinstance(patterns, dict | None) or not values or config.get("use_rslora") not in (None, False, True):
        raise RefusedError("it is not a configuration of peft's")
    for key, value in (patterns or {}).items():
        if REGEX_BOMB not in key and _pattern_matches(key, module):
            values.insert(0, value)
            break
    if isinstance(values[0], bool) or not isinstance(values[0], int | float):
        raise RefusedError("alpha is not a number")
    return float(values[0] * (rank**0.5 if config.get("use_rslora") else 1))


def _pattern_matches(key: str, module: str) -> bool:
    try:
        return re.match(rf"(.*\.)?({key})$", module) is not None
    except re.error:
        return False


def _make_adapter(folder: Path) -> None:
    make_adapter(folder / "adapter")


def _read_card(folder: Path) -> Any:
    return read_card(folder / "adapter").model_dump(mode="json")


def _read_adapter(folder: Path) -> dict[str, Any]:
    card = read_verified_card(folder / "adapter", (folder / "base").read_text())
    return {
        "card": card.model_dump(mode="json"),
        "tensors": summarize_tensors(read_tensors(folder / "adapter" / WEIGHTS)),
    }


def _make_adapter_and_base(folder: Path) -> None:
    _make_adapter(folder)
    (folder / "base").write_text(read_card(folder / "adapter").base_digest)


READERS = (
    Reader(
        "PEFT adapter",
        "strict JSON, the specification of safetensors and peft's rules",
        _make_peft,
        _read_peft,
        _expect_peft,
    ),
    Reader("adapter card", "what was written", _make_adapter, _read_card, files=(f"adapter/{CARD}",)),
    Reader("adapter folder", "what was written", _make_adapter_and_base, _read_adapter, files=("adapter/*",)),
)
