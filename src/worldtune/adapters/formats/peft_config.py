"""PEFT's configuration of an adapter, read completely: each key is applied, known to have no effect, or rejected.

Source: peft 0.21 `tuners/lora/config.py`, `tuners/lora/layer.py` and `tuners/lora/variants.py`.
"""

from collections.abc import Mapping
from functools import cached_property
from math import sqrt
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from worldtune.adapters.formats.patterns import Keys
from worldtune.core.ranges import Alpha, Rank
from worldtune.core.settings import parse_model
from worldtune.errors import AdapterError, RecipeError

NO_EFFECT = frozenset(
    {
        "task_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision", "inference_mode",
        "runtime_config", "unsloth_fixed",
        # the layers with an adapter, which the tensors show
        "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
        # used only in training
        "lora_dropout", "velora_config",
        # settings of the initialization that init_lora_weights names
        "loftq_config", "eva_config", "corda_config", "lora_ga_config",
        # PEFT sets it to false on nn.Linear, and every layer of a Cosmos denoiser is one
        "fan_in_fan_out",
        # settings of features that are refused if used
        "qalora_group_size", "megatron_core", "ensure_weight_tying",
    }
)  # fmt: skip
REFUSED = {
    "layer_replication": "repeats blocks of the base",
    "lora_bias": "adds a bias to B",
    "megatron_config": "uses Megatron's parallel layers",
    "trainable_token_indices": "trains tokens of an embedding",
    "target_parameters": "adapts parameters outside linear layers",
    "alora_invocation_tokens": "is active only after certain tokens (aLoRA)",
    "use_qalora": "pools the inputs of A (QA-LoRA)",
    "use_bdlora": "has block-diagonal factors (BD-LoRA)",
    "arrow_config": "routes tokens between adapters (Arrow)",
    "kasa_config": "truncates the base's weights (KaSA)",
    "monteclora_config": "samples its factors (MonteCLoRA)",
}
KEPT_BASE = ("gaussian", "orthogonal", "eva", "mica", "true", "false")
"""Initializations that do not change the base's weights."""
CONVERTIBLE = ("pissa", "olora", "corda", "lora_ga")
"""Initializations that are subtracted from the base's weights, and that PEFT can convert when it saves."""
_CONVERT = "Save it with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...), or merge it with PEFT."
_MERGE = "Merge it with PEFT, or train it without."


class PeftConfig(BaseModel):
    """The applied keys, with finite numbers in range; keys of `alpha_pattern` are those that `patterns` supports.

    Ranks come from the tensors: the keys of `rank_pattern` are not used.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)

    peft_type: str | None = None
    r: Rank | None = None
    lora_alpha: Alpha | None = None
    alpha_pattern: dict[str, Alpha] | None = None
    rank_pattern: dict[str, Rank] | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    init_lora_weights: bool | str | None = None
    modules_to_save: tuple[str, ...] | None = None
    bias: str | None = None
    notes: tuple[str, ...] = ()

    @field_validator("alpha_pattern")
    @classmethod
    def _keys_are_supported(cls, patterns: dict[str, Any] | None) -> dict[str, Any] | None:
        Keys(patterns or ())
        return patterns

    @field_validator("modules_to_save", mode="before")
    @classmethod
    def _list_is_tuple(cls, modules: Any) -> Any:
        return tuple(modules) if isinstance(modules, list) else modules

    @cached_property
    def _keys(self) -> Keys:
        return Keys(self.alpha_pattern or ())

    def alpha(self, names: tuple[str, ...], rank: int) -> float | None:
        """Return the alpha of a module with these names, for the scale alpha/rank; None if none is stated."""
        if self.lora_alpha is None:
            return None
        patterns = self.alpha_pattern or {}
        keys = (self._keys.find(name) for name in names)
        stated = next((patterns[key] for key in keys if key is not None), self.lora_alpha)
        return stated * sqrt(rank) if self.use_rslora else stated  # rsLoRA's scale is alpha/√rank


APPLIED = frozenset(PeftConfig.model_fields) - {"notes"}


def check_config(config: Mapping[str, Any], where: str) -> PeftConfig:
    """Return PEFT's configuration of an adapter after checking it.

    Raise AdapterError for values out of range, and for keys that a LoRA or DoRA on unchanged base weights cannot apply.
    """
    for key, reason in REFUSED.items():
        if _is_set(config.get(key)):
            raise AdapterError(f"its configuration has {key}: it {reason}", where=where, hint=_MERGE)
    notes = _notes_on_unknown_keys(config, where)
    applied = {key: value for key, value in config.items() if key in APPLIED}
    try:
        found = parse_model(PeftConfig, applied, where)
    except RecipeError as error:
        raise AdapterError(error.what, where=where, hint="Copy it again, or correct its configuration.") from error
    if found.peft_type is not None and found.peft_type.upper() != "LORA":
        what = f"its peft_type is {found.peft_type[:40]}; worldtune reads LoRA and DoRA"
        raise AdapterError(what, where=where, hint=_MERGE)
    _check_initialization(found.init_lora_weights, where)
    if found.bias not in (None, "none"):
        notes.append(f"its configuration says bias = {found.bias[:40]}: biases in the file are fully trained weights")
    return found.model_copy(update={"notes": tuple(notes)})


def _check_initialization(init: bool | str | None, where: str) -> None:
    """Raise AdapterError if PEFT changed the base's weights when it initialized the adapter."""
    if not isinstance(init, str) or init.lower() in KEPT_BASE:
        return
    changed = "PEFT changed the base's weights when it created the adapter"
    if init.lower().startswith(CONVERTIBLE):
        raise AdapterError(f"its init_lora_weights is {init[:40]!r}: {changed}", where=where, hint=_CONVERT)
    reason = changed if init.lower() == "loftq" else "PEFT may have changed the base's weights for it"
    raise AdapterError(f"its init_lora_weights is {init[:40]!r}: {reason}", where=where, hint="Merge it with PEFT.")


def _notes_on_unknown_keys(config: Mapping[str, Any], where: str) -> list[str]:
    """Return notes on keys of another PEFT version.

    A key that is off has no effect. Raise AdapterError for a key that is true or a group of settings: a feature is on.
    A number or a text gets a note: PEFT also writes such settings of features that are off.
    """
    notes = []
    for key in sorted(config.keys() - APPLIED - NO_EFFECT - REFUSED.keys()):
        value = config[key]
        if value is True or (isinstance(value, dict | list) and value):
            what = f"its configuration has {key[:60]} = {str(value)[:60]}, which this worldtune does not support"
            hint = f"Merge it with PEFT, or remove {key[:60]} if the adapter is the same without it."
            raise AdapterError(what, where=where, hint=hint)
        if _is_set(value):
            notes.append(f"{key[:60]} = {str(value)[:60]} of its configuration is unknown and ignored")
    return notes


def _is_set(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", 0, [], {})
