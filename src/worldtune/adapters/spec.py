"""Which adapter: method, rank, scale, start and the modules it sits on."""

from math import sqrt
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from worldtune.adapters.targets import ATTENTION, LINEARS, MLP, NORM, linears_ending_in
from worldtune.core.ranges import Alpha, Rank
from worldtune.errors import did_you_mean
from worldtune.strict import Strict

TARGETS: dict[str, tuple[str, ...]] = {
    "attention+mlp": ATTENTION + MLP,
    "attention": ATTENTION,
    "attention+mlp+norm": ATTENTION + MLP + NORM,
}


class AdapterSpec(Strict):
    """LoRA: y = Wx + s·B(Ax) (arXiv:2106.09685); DoRA adds a magnitude per output (arXiv:2402.09353).

    The scale s is alpha/rank, or alpha/√rank with `rslora` (arXiv:2312.03732). `targets` are a set by name or endings
    of module names. `ranks` are other ranks by ending, of which the longest that fits holds (peft's `rank_pattern`);
    alpha/rank is the same everywhere, so that a module's alpha is in proportion to its rank (`alpha_pattern`).
    `init`: B starts at zero, or A and B at the largest singular values of W (PiSSA, arXiv:2404.02948) or at the first
    columns of its QR decomposition (OLoRA, arXiv:2406.01775), which are taken off the change.
    """

    method: Literal["lora", "dora"] = "lora"
    rank: Rank = 16
    alpha: Alpha | None = Field(None, description="scale alpha/rank; alpha = rank when not given")
    targets: Literal["attention+mlp", "attention", "attention+mlp+norm"] | tuple[str, ...] = "attention+mlp"
    ranks: dict[str, Rank] = Field(default_factory=dict)
    rslora: bool = False
    init: Literal["zero", "pissa", "olora"] = "zero"

    @field_validator("targets", mode="before")
    @classmethod
    def _targets_are_there(cls, targets: Any) -> Any:
        if isinstance(targets, str):
            if targets not in TARGETS:
                known = f"Known: {', '.join(TARGETS)}, or a list of module names' endings."
                raise ValueError(f"there is no set '{targets}'. {did_you_mean(targets, TARGETS, known)}")
            return targets
        if not isinstance(targets, list | tuple) or not targets or not all(isinstance(one, str) for one in targets):
            raise ValueError(f"it is a set by name ({', '.join(TARGETS)}) or a list of module names' endings")
        for ending in targets:
            linears_ending_in(ending)
        return targets

    @field_validator("ranks")
    @classmethod
    def _ranks_are_of_targets(cls, ranks: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        for ending in ranks:
            linears_ending_in(ending)
            if "targets" in info.data:
                linears_ending_in(ending, _targeted(info.data["targets"]))
        return ranks

    @property
    def linears(self) -> dict[str, int]:
        """The rank of every targeted linear layer of the architecture, by its own ending."""
        return {linear: self._rank_of(linear) for linear in _targeted(self.targets)}

    @property
    def modules(self) -> tuple[str, ...]:
        """peft's `target_modules`: a listed ending is written out, as it may also fit what is no linear layer."""
        return TARGETS[self.targets] if isinstance(self.targets, str) else _targeted(self.targets)

    @property
    def lora_alpha(self) -> float:
        """peft's `lora_alpha`, with `rank`."""
        return self.alpha or self.rank

    @property
    def rank_pattern(self) -> dict[str, int]:
        """The linear layers of another rank than `rank`, by endings of which one alone fits a module."""
        return {linear: rank for linear, rank in self.linears.items() if rank != self.rank}

    @property
    def alpha_pattern(self) -> dict[str, float]:
        return {linear: self.lora_alpha * rank / self.rank for linear, rank in self.rank_pattern.items()}

    @property
    def as_saved(self) -> "AdapterSpec":
        """The adapter as it is written: one that did not start at zero is of twice the rank, of the same scale.

        Exactly the same, but for rsLoRA, whose √2 is rounded (in the sixteenth digit).
        """
        if self.init == "zero":
            return self
        doubled = {
            "rank": 2 * self.rank,
            "alpha": self.lora_alpha * (sqrt(2) if self.rslora else 2),
            "ranks": {ending: 2 * rank for ending, rank in self.ranks.items()},
            "init": "zero",
        }
        return self.model_copy(update=doubled)

    def _rank_of(self, linear: str) -> int:
        fitting = [ending for ending in self.ranks if linear in linears_ending_in(ending)]
        return self.ranks[max(fitting, key=len)] if fitting else self.rank


def _targeted(targets: str | tuple[str, ...]) -> tuple[str, ...]:
    endings = TARGETS[targets] if isinstance(targets, str) else targets
    found = {linear for ending in endings for linear in linears_ending_in(ending)}
    return tuple(linear for linear in LINEARS if linear in found)
