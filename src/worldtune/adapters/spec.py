"""The spec of an adapter: method, rank, scale, initialization and target modules."""

from math import sqrt
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from worldtune.adapters.targets import ATTENTION, LINEARS, MLP, NORM, linear_of, linears_ending_in
from worldtune.core.ranges import Alpha, Rank
from worldtune.core.settings import StrictModel
from worldtune.errors import did_you_mean

TARGETS: dict[str, tuple[str, ...]] = {
    "attention+mlp": ATTENTION + MLP,
    "attention": ATTENTION,
    "attention+mlp+norm": ATTENTION + MLP + NORM,
}


class AdapterSpec(StrictModel):
    """The spec of a LoRA, y = Wx + s·B(Ax) (arXiv:2106.09685), or a DoRA, with a magnitude per output (2402.09353).

    The scale s is alpha/rank, or alpha/√rank with `rslora` (arXiv:2312.03732). `targets` is the name of a set, or a
    list of endings of module names. `ranks` sets other ranks by ending; the longest matching ending applies (peft's
    `rank_pattern`). alpha/rank is the same everywhere: a module's alpha is proportional to its rank (`alpha_pattern`).
    `init`: B starts at zero; or A and B start at the largest singular values of W (PiSSA, arXiv:2404.02948) or at the
    first columns of its QR decomposition (OLoRA, arXiv:2406.01775), and these factors are subtracted from the change.
    `actions`: the model reads the robot's actions too, through two small MLPs of the adapter (or of the base).
    """

    method: Literal["lora", "dora"] = "lora"
    rank: Rank = 16
    alpha: Alpha | None = Field(None, description="scale = alpha/rank; default: alpha = rank")
    targets: Literal["attention+mlp", "attention", "attention+mlp+norm"] | tuple[str, ...] = "attention+mlp"
    ranks: dict[str, Rank] = Field(default_factory=dict)
    rslora: bool = False
    init: Literal["zero", "pissa", "olora"] = "zero"
    actions: bool = False

    @field_validator("targets", mode="before")
    @classmethod
    def _targets_exist(cls, targets: Any) -> Any:
        if isinstance(targets, str):
            if targets not in TARGETS:
                known = f"Known: {', '.join(TARGETS)}, or a list of endings of module names."
                raise ValueError(f"there is no set '{targets}'. {did_you_mean(targets, TARGETS, known)}")
            return targets
        if not isinstance(targets, list | tuple) or not targets or not all(isinstance(item, str) for item in targets):
            raise ValueError(f"it must name a set ({', '.join(TARGETS)}) or list endings of module names")
        for ending in targets:
            linears_ending_in(ending)
        return targets

    @field_validator("ranks")
    @classmethod
    def _ranks_belong_to_targets(cls, ranks: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        for ending in ranks:
            linears_ending_in(ending)
            if "targets" in info.data:
                linears_ending_in(ending, _targeted(info.data["targets"]))
        return ranks

    @property
    def linears(self) -> dict[str, int]:
        """The rank of every targeted linear layer, by its name in `LINEARS`."""
        return {linear: self._rank_of(linear) for linear in _targeted(self.targets)}

    @property
    def modules(self) -> tuple[str, ...]:
        """peft's `target_modules`; a listed ending is expanded, as it may also match modules that are not linear."""
        return TARGETS[self.targets] if isinstance(self.targets, str) else _targeted(self.targets)

    @property
    def lora_alpha(self) -> float:
        """peft's `lora_alpha` for `rank`."""
        return self.alpha or self.rank

    @property
    def rank_pattern(self) -> dict[str, int]:
        """peft's `rank_pattern`: the linear layers with a rank other than `rank`, by unique endings."""
        return {linear: rank for linear, rank in self.linears.items() if rank != self.rank}

    @property
    def alpha_pattern(self) -> dict[str, float]:
        return {linear: self.lora_alpha * rank / self.rank for linear, rank in self.rank_pattern.items()}

    def rank_at(self, module: str) -> int | None:
        """Return the rank on a module of the denoiser, None if it has no adapter."""
        return self.linears.get(linear_of(module) or "")

    @property
    def as_saved(self) -> "AdapterSpec":
        """The spec as written: an adapter that did not start at zero has twice the rank and the same scale.

        The scale is exactly the same except for rsLoRA, whose √2 is rounded (in the sixteenth digit).
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
