"""Which adapter: method, rank, scale and the modules it sits on."""

from typing import Literal

from pydantic import Field

from worldtune.strict import Strict

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MLP = ("ff.net.0.proj", "ff.net.2")
TARGETS: dict[str, tuple[str, ...]] = {"attention+mlp": ATTENTION + MLP, "attention": ATTENTION}


class AdapterSpec(Strict):
    """LoRA: y = Wx + (alpha/rank)·B(Ax) (arXiv:2106.09685); DoRA adds a magnitude per output (arXiv:2402.09353)."""

    method: Literal["lora", "dora"] = "lora"
    rank: int = Field(16, ge=1)
    alpha: float | None = Field(None, gt=0, description="scale alpha/rank; alpha = rank when not given")
    targets: Literal["attention+mlp", "attention"] = "attention+mlp"

    @property
    def modules(self) -> tuple[str, ...]:
        return TARGETS[self.targets]
