"""The spec of an adapter from another tool that varies by module: some blocks only, or different ranks and alphas."""

from typing import Literal

from pydantic import Field, field_validator

from worldtune.adapters.targets import linear_of
from worldtune.core.ranges import Alpha, Rank
from worldtune.core.settings import StrictModel


class ModuleRank(StrictModel):
    """The rank and alpha of one module; its scale is alpha/rank."""

    rank: Rank
    alpha: Alpha


class ModuleSpec(StrictModel):
    """A spec like `AdapterSpec`, module by module; the keys of `at` are the denoiser's names of linear layers."""

    method: Literal["lora", "dora"]
    at: dict[str, ModuleRank] = Field(min_length=1)

    @field_validator("at")
    @classmethod
    def _modules_are_linear_layers(cls, at: dict[str, ModuleRank]) -> dict[str, ModuleRank]:
        if unsupported := [name for name in at if linear_of(name) is None]:
            raise ValueError(f"{unsupported[0]} is not a linear layer of a denoiser")
        return at

    @property
    def rank(self) -> int:
        """peft's `r`: the largest rank; `rank_pattern` has the others."""
        return max(module.rank for module in self.at.values())

    @property
    def lora_alpha(self) -> float:
        return next(module.alpha for module in self.at.values() if module.rank == self.rank)

    @property
    def modules(self) -> tuple[str, ...]:
        return tuple(self.at)

    @property
    def rank_pattern(self) -> dict[str, int]:
        return {name: module.rank for name, module in self.at.items() if module.rank != self.rank}

    @property
    def alpha_pattern(self) -> dict[str, float]:
        return {name: module.alpha for name, module in self.at.items() if module.alpha != self.lora_alpha}

    @property
    def rslora(self) -> bool:
        return False

    @property
    def init(self) -> Literal["zero"]:
        return "zero"

    def rank_at(self, module: str) -> int | None:
        """Return the rank on a module of the denoiser, None if it has no adapter."""
        return self.at[module].rank if module in self.at else None

    @property
    def as_saved(self) -> "ModuleSpec":
        return self
