"""Names of tensors: NVIDIA's checkpoints ↔ diffusers' `CosmosTransformer3DModel`. Shapes are the same in both.

NVIDIA's name of a module is a prefix of its tensors' names; what follows it (`weight`, `lora_A.default.weight`)
is kept. Sources: github.com/nvidia-cosmos/cosmos-predict2.5 (`minimal_v4_dit.py`), diffusers
`scripts/convert_cosmos_to_diffusers.py`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from worldtune.errors import BaseError

Style = Literal["nvidia", "diffusers"]
T = TypeVar("T")

_ATTENTION = {
    "q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "output_proj": "to_out.0", "q_norm": "norm_q",
    "k_norm": "norm_k",
}  # fmt: skip
_BRANCHES = {"self_attn": "attn1", "cross_attn": "attn2"}
_IN_BLOCK = {
    **{f"{a}.{name}": f"{b}.{other}" for a, b in _BRANCHES.items() for name, other in _ATTENTION.items()},
    **{
        f"adaln_modulation_{branch}.{i}": f"norm{place}.linear_{i}"
        for place, branch in enumerate(("self_attn", "cross_attn", "mlp"), start=1)
        for i in (1, 2)
    },
    "mlp.layer1": "ff.net.0.proj",
    "mlp.layer2": "ff.net.2",
}
_OUTSIDE = {
    "x_embedder.proj.1": "patch_embed.proj",
    "t_embedder.1": "time_embed.t_embedder",
    "t_embedding_norm": "time_embed.norm",
    "final_layer.adaln_modulation.1": "norm_out.linear_1",
    "final_layer.adaln_modulation.2": "norm_out.linear_2",
    "final_layer.linear": "proj_out",
    "crossattn_proj.0": "crossattn_proj.0",
}
_BLOCKS = {"nvidia": "blocks", "diffusers": "transformer_blocks"}
_WRAPPERS = re.compile(r"^(?:base_model\.model\.)?(?:net\.)?(?:base_model\.model\.)?")
_DROPPED = (
    (re.compile(r"(^|\.)_extra_state$"), "state of NVIDIA's Transformer Engine, not a weight"),
    (re.compile(r"^accum_"), "counter of NVIDIA's trainer"),
    (re.compile(r"^pos_embedder\."), "tables of the rotary positions, computed anew"),
    (re.compile(r"^net_ema\."), "moving average of the weights, beside the weights themselves"),
)


@dataclass(frozen=True)
class Renaming:
    """New name of every kept tensor by its old one, and the reason for every one left out."""

    names: dict[str, str]
    dropped: dict[str, str]

    def of(self, tensors: Mapping[str, T]) -> dict[str, T]:
        """The kept tensors by their new names."""
        return {new: tensors[old] for old, new in self.names.items()}


def rename_all(names: Iterable[str], to: Style, where: str) -> Renaming:
    """The names of a checkpoint in the style `to`, from the other one.

    Raises BaseError, which lists them, when names are unknown or two of them become one.
    """
    kept: dict[str, str] = {}
    dropped: dict[str, str] = {}
    unknown: list[str] = []
    for name in names:
        bare = unwrapped(name) if to == "diffusers" else name
        reason = next((reason for pattern, reason in _DROPPED if pattern.search(bare)), None)
        new = rename(bare, to)
        if reason:
            dropped[name] = reason
        elif new is None:
            unknown.append(name)
        else:
            kept[name] = new
    counts = Counter(kept.values())
    twice = [name for name, new in kept.items() if counts[new] > 1]
    if unknown or twice:
        what = "unknown tensors" if unknown else "tensors that become one"
        raise BaseError(
            f"{len(unknown or twice)} {what}: {', '.join((unknown or twice)[:5])}",
            where=where,
            mend="Convert a Cosmos Predict 2 or 2.5 denoiser.",
        )
    return Renaming(kept, dropped)


def unwrapped(name: str) -> str:
    """A tensor's name without what NVIDIA's trainer and peft put in front."""
    return _WRAPPERS.sub("", name)


def block_modules(style: Style) -> list[str]:
    """The modules of a block in one style, without the block's own name."""
    return list(_IN_BLOCK if style == "nvidia" else _IN_BLOCK.values())


def rename(name: str, to: Style) -> str | None:
    """One tensor's name in the style `to`; None when it is no tensor of the denoiser."""
    source: Style = "nvidia" if to == "diffusers" else "diffusers"
    block = re.match(rf"{_BLOCKS[source]}\.(\d+)\.", name)
    if block:
        rest = _replace_module(name[block.end() :], _IN_BLOCK, to)
        return rest and f"{_BLOCKS[to]}.{block[1]}.{rest}"
    return _replace_module(name, _OUTSIDE, to)


def _replace_module(name: str, table: dict[str, str], to: Style) -> str | None:
    for nvidia, diffusers in table.items():
        old, new = (nvidia, diffusers) if to == "diffusers" else (diffusers, nvidia)
        if name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None
