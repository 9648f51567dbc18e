"""Classify a tensor of an adapter file by its name: part of a LoRA or DoRA, full weight, or other kind of adapter.

Sources: peft `mapping.py` (prefixes of its tuners), github.com/KohakuBlueleaf/LyCORIS (`lycoris/modules`),
github.com/comfyanonymous/ComfyUI (`comfy/weight_adapter`, `comfy/lora.py`).
"""

import re
from typing import Literal, NamedTuple

from worldtune.adapters.formats.names import module_of

Kind = Literal["a", "b", "magnitude", "scale", "alpha"]
_NAMED = r"(?:\.(?!weight$)(?P<adapter>[^.]+))?"  # PEFT puts the adapter's name here
_PARTS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("a", re.compile(rf"\.(?:lora_A{_NAMED}|lora\.down|lora_down|lora_linear_layer\.down)\.weight$")),
    ("b", re.compile(rf"\.(?:lora_B{_NAMED}|lora\.up|lora_up|lora_linear_layer\.up)\.weight$")),
    ("magnitude", re.compile(rf"\.lora_magnitude_vector{_NAMED}(?:\.weight)?$")),
    ("scale", re.compile(r"\.dora_scale$")),
    ("alpha", re.compile(r"\.alpha$")),
)
_FULL = re.compile(
    r"^(?P<module>.+?)(?:\.(?P<wrapper>base_layer|original_module|modules_to_save(?:\.[^.]+)?))?\.(?P<leaf>weight|bias)$"
)
_NO_WEIGHTS = (
    ("not a weight: state of NVIDIA's trainer", re.compile(r"(^|\.)_extra_state$|^(net\.)?(accum_|pos_embedder\.)")),
    ("used only in training (VeLoRA)", re.compile(r"\.lora_velora_embed\b")),
    ("the moving average of the weights", re.compile(r"^net_ema\.")),
)
_OTHERS = (
    ("a LoKr", re.compile(r"\.lokr_")),
    ("a LoHa", re.compile(r"\.hada_")),
    ("a GLoRA", re.compile(r"\.(a1|a2|b1|b2|bm1|bm2)\.weight$")),
    ("an OFT or BOFT", re.compile(r"\.oft_|\.boft_")),
    ("an (IA)³", re.compile(r"\.ia3_|\.on_input$")),
    ("a full weight difference (diff)", re.compile(r"\.(diff|diff_b|set_weight|w_norm|b_norm)$")),
    ("a LoRA of a convolution (lora_mid)", re.compile(r"\.lora_mid\.")),
    ("a LoRA with a bias (lora_bias)", re.compile(r"\.lora_[AB]\b.*\.bias$")),
    ("an embedding's LoRA", re.compile(r"\.lora_embedding_[AB]")),
    ("an AdaLoRA", re.compile(r"\.(lora_E|ranknum)\b")),
    ("a KaSA", re.compile(r"\.lora_diag\b")),
    ("a MonteCLoRA", re.compile(r"\.lora_monteclora_")),
)


class Part(NamedTuple):
    """A part of a module's LoRA or DoRA; `adapter` is PEFT's name of the adapter, None without one."""

    kind: Kind
    module: str
    adapter: str | None


class Full(NamedTuple):
    """A module's full weight or bias, by diffusers' name.

    `trained` and `base`: its name in the file says that it was trained, or that it is the base's.
    """

    name: str
    module: str
    trained: bool
    base: bool


def part_of(name: str) -> Part | None:
    """Return the part of a LoRA or DoRA that a tensor's name means, None if it means none."""
    for kind, pattern in _PARTS:
        if match := pattern.search(name):
            module = module_of(name[: match.start()])
            return module and Part(kind, module, match.groupdict().get("adapter"))  # type: ignore[return-value]
    return None


def full_weight(name: str) -> Full | None:
    """Return the full weight of the denoiser that a tensor's name means, None if it means none."""
    match = _FULL.match(name)
    if not match or not (module := module_of(match["module"])):
        return None
    wrapper = match["wrapper"] or ""
    trained = wrapper.startswith("modules_to_save")
    return Full(f"{module}.{match['leaf']}", module, trained, wrapper in ("base_layer", "original_module"))


def reason_left_out(name: str) -> str | None:
    """Return why a tensor is not part of the adapter, such as a counter of NVIDIA's trainer; None if it may be one."""
    return next((reason for reason, pattern in _NO_WEIGHTS if pattern.search(name)), None)


def other_kind(name: str) -> str | None:
    """Return the other kind of adapter that a tensor belongs to, with its article; None if it is not known."""
    if found := next((kind for kind, pattern in _OTHERS if pattern.search(name)), None):
        return found
    from peft.mapping import PEFT_TYPE_TO_PREFIX_MAPPING

    prefixes = {prefix: kind.value for kind, prefix in PEFT_TYPE_TO_PREFIX_MAPPING.items() if prefix != "lora_"}
    tuner = next((kind for prefix, kind in prefixes.items() if f".{prefix}" in f".{name}"), None)
    return tuner and f"PEFT's {tuner}"
