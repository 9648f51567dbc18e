"""Tensor names of NVIDIA's checkpoints and of diffusers' `CosmosTransformer3DModel`. Shapes are the same in both.

A module's name is a prefix of its tensors' names; the rest (`weight`, `lora_A.default.weight`) is unchanged. Sources:
github.com/nvidia-cosmos/cosmos-predict2.5 (`minimal_v4_dit.py`), diffusers `scripts/convert_cosmos_to_diffusers.py`.
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
_BLOCK_MODULES = {
    **{f"{a}.{name}": f"{b}.{other}" for a, b in _BRANCHES.items() for name, other in _ATTENTION.items()},
    **{
        f"adaln_modulation_{branch}.{i}": f"norm{index}.linear_{i}"
        for index, branch in enumerate(("self_attn", "cross_attn", "mlp"), start=1)
        for i in (1, 2)
    },
    "mlp.layer1": "ff.net.0.proj",
    "mlp.layer2": "ff.net.2",
}
_TOP_LEVEL = {
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
    (re.compile(r"^pos_embedder\."), "tables of the rotary positions, which are recomputed"),
    (re.compile(r"^net_ema\."), "moving average of the weights, which the file holds too"),
)


@dataclass(frozen=True)
class Renaming:
    """The new name of every kept tensor by its old name, and the reason for every dropped one."""

    names: dict[str, str]
    dropped: dict[str, str]

    def of(self, tensors: Mapping[str, T]) -> dict[str, T]:
        """Return the kept tensors by their new names."""
        return {new: tensors[old] for old, new in self.names.items()}


def rename_tensors(names: Iterable[str], to: Style, where: str) -> Renaming:
    """Rename the tensors of a checkpoint to the style `to`, from the other style.

    Raise BaseError that lists names that are unknown, or that become equal.
    """
    kept: dict[str, str] = {}
    dropped: dict[str, str] = {}
    unknown: list[str] = []
    for name in names:
        bare = strip_wrappers(name) if to == "diffusers" else name
        reason = next((reason for pattern, reason in _DROPPED if pattern.search(bare)), None)
        new = rename_tensor(bare, to)
        if reason:
            dropped[name] = reason
        elif new is None:
            unknown.append(name)
        else:
            kept[name] = new
    counts = Counter(kept.values())
    duplicates = [name for name, new in kept.items() if counts[new] > 1]
    if unknown or duplicates:
        what = "unknown tensors" if unknown else "tensors that get the same name"
        raise BaseError(
            f"{len(unknown or duplicates)} {what}: {', '.join((unknown or duplicates)[:5])}",
            where=where,
            hint="Convert a Cosmos Predict 2 or 2.5 denoiser.",
        )
    return Renaming(kept, dropped)


def strip_wrappers(name: str) -> str:
    """Return a tensor's name without the prefixes of NVIDIA's trainer and peft."""
    return _WRAPPERS.sub("", name)


def block_modules(style: Style) -> list[str]:
    """Return the module names of a block in one style, without the block's name."""
    return list(_BLOCK_MODULES if style == "nvidia" else _BLOCK_MODULES.values())


def rename_tensor(name: str, to: Style) -> str | None:
    """Return a tensor's name in the style `to`, None if the denoiser has no such tensor."""
    source: Style = "nvidia" if to == "diffusers" else "diffusers"
    block = re.match(rf"{_BLOCKS[source]}\.(\d+)\.", name)
    if block:
        rest = _replace_module(name[block.end() :], _BLOCK_MODULES, to)
        return rest and f"{_BLOCKS[to]}.{block[1]}.{rest}"
    return _replace_module(name, _TOP_LEVEL, to)


def _replace_module(name: str, table: dict[str, str], to: Style) -> str | None:
    for nvidia, diffusers in table.items():
        old, new = (nvidia, diffusers) if to == "diffusers" else (diffusers, nvidia)
        if name.startswith(f"{old}."):
            return new + name[len(old) :]
    return None
