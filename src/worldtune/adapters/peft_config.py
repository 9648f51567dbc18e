"""What peft's configuration says of an adapter's strength, checked; a file's other keys are not looked at."""

from collections.abc import Mapping
from functools import cached_property
from math import sqrt
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator

from worldtune.adapters.patterns import Keys
from worldtune.core.ranges import Alpha, Rank
from worldtune.errors import AdapterError, RecipeError
from worldtune.strict import parse


class PeftConfig(BaseModel):
    """Numbers are JSON numbers, finite and sensible; an alpha's key is one that `patterns` reads.

    Ranks are those of the tensors: the keys of `rank_pattern` are not matched with anything.
    """

    model_config = ConfigDict(strict=True, allow_inf_nan=False, frozen=True)

    r: Rank | None = None
    lora_alpha: Alpha | None = None
    alpha_pattern: dict[str, Alpha] | None = None
    rank_pattern: dict[str, Rank] | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None

    @field_validator("alpha_pattern")
    @classmethod
    def _keys_can_be_matched(cls, patterns: dict[str, Any] | None) -> dict[str, Any] | None:
        Keys(patterns or ())
        return patterns

    @cached_property
    def _keys(self) -> Keys:
        return Keys(self.alpha_pattern or ())

    def alpha(self, names: tuple[str, ...], rank: int) -> float | None:
        """Return the alpha of a module of several names, for the scale alpha/rank; None if none is stated."""
        if self.lora_alpha is None:
            return None
        patterns = self.alpha_pattern or {}
        keys = (self._keys.find(name) for name in names)
        stated = next((patterns[key] for key in keys if key is not None), self.lora_alpha)
        return stated * sqrt(rank) if self.use_rslora else stated  # rsLoRA's scale is alpha/√rank


def check_config(config: Mapping[str, Any], where: str) -> PeftConfig:
    """Return the part of peft's configuration that is used. Raises AdapterError for values that are not sensible."""
    try:
        return parse(PeftConfig, dict(config), where)
    except RecipeError as error:
        raise AdapterError(error.what, where=where, mend="Copy it again, or correct its configuration.") from error
