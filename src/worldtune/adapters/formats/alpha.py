"""The alpha of every layer: from its own tensor, PEFT's configuration, one number in the header, or the user.

A layer's change is scaled by alpha/rank, so one alpha for layers of several ranks gives them different strengths. A
number with an ambiguous meaning is rejected.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from worldtune.adapters.formats.names import nvidia_name
from worldtune.adapters.formats.peft_config import PeftConfig
from worldtune.core.ranges import MAX_ALPHA
from worldtune.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor

Alpha = float | Literal["rank"]
"""The user's alpha where the file states none: one number, or "rank" for each layer's rank."""


@dataclass(frozen=True)
class HeaderAlpha:
    """One alpha for a whole file, the header key that states it, and the rank that the header states."""

    value: float
    key: str
    rank: int | None = None


@dataclass(frozen=True)
class AlphaSources:
    """All sources of alpha other than a layer's own tensors."""

    config: PeftConfig
    header: HeaderAlpha | None
    user: Alpha | None
    where: str

    def of(self, tensors: "Mapping[str, Tensor | None]", ranks: Mapping[str, int]) -> tuple[dict[str, float], bool]:
        """Return the alpha of every module, and whether the user's was needed; `tensors` are those named alpha.

        Raise AdapterError if an alpha is stated nowhere, is out of range, or is one number for several ranks.
        """
        alphas: dict[str, float] = {}
        unstated: dict[str, int] = {}
        for module, rank in ranks.items():
            tensor = tensors.get(module)
            stated = self.config.alpha((module, nvidia_name(module)), rank)
            if tensor is not None:
                alphas[module] = _checked(float(tensor) if tensor.numel() == 1 else None, module, self.where)
            elif stated is not None:
                alphas[module] = stated
            else:
                unstated[module] = rank
        if not unstated:
            return alphas, False
        return alphas | self._for_all(unstated), self.header is None or not self._header_fits(unstated)

    def _for_all(self, ranks: Mapping[str, int]) -> dict[str, float]:
        """Return alphas from the header or else the user, for modules whose tensors and configuration state none."""
        if self.header and self._header_fits(ranks):
            return {module: _checked(self.header.value, module, self.where) for module in ranks}
        if self.user == "rank":
            return {module: float(rank) for module, rank in ranks.items()}
        if self.user is not None:
            if several := _several(ranks):
                what = f"its layers have ranks {several}, and one --alpha would give them different strengths"
                raise AdapterError(what, where=self.where, hint="Use --alpha rank.")
            return {module: _checked(self.user, module, self.where) for module in ranks}
        if self.header:
            raise self._ambiguous(self.header, ranks)
        raise AdapterError(
            "the file does not state its alpha, and a guess could give the wrong strength",
            where=self.where,
            hint="Use --alpha rank (as NVIDIA's and diffusers' scripts train), or --alpha NUMBER.",
        )

    def _header_fits(self, ranks: Mapping[str, int]) -> bool:
        """Return whether the header's number has only one meaning for these layers."""
        assert self.header is not None
        return len(set(ranks.values())) == 1 and self.header.rank in (None, *ranks.values())

    def _ambiguous(self, header: HeaderAlpha, ranks: Mapping[str, int]) -> AdapterError:
        stated = f"{header.key} = {header.value:g}"
        found = _several(ranks) or str(next(iter(ranks.values())))
        what = f"its header states {stated} for rank {header.rank}, and its layers have rank {found}"
        if several := _several(ranks):
            what = f"its header states {stated} for all layers, which have ranks {several}"
        return AdapterError(what, where=self.where, hint="Use --alpha rank if each layer's alpha is its rank.")


def _several(ranks: Mapping[str, int]) -> str | None:
    found = list(map(str, sorted(set(ranks.values()))))
    return f"{', '.join(found[:-1])} and {found[-1]}" if len(found) > 1 else None


def _checked(alpha: float | None, module: str, where: str) -> float:
    """Return alpha. Raise AdapterError if it is missing or out of range."""
    if alpha is None or not 0 < alpha <= MAX_ALPHA:  # NaN too
        what = f"the alpha of {module} is {'not one number' if alpha is None else alpha}"
        raise AdapterError(what, where=where, hint=f"Use a number above 0 and at most {MAX_ALPHA:,.0f}.")
    return alpha
