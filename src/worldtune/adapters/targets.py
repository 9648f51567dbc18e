"""The linear layers of a denoiser that may have an adapter, named by their endings.

`crossattn_proj.0` is not one of them: text is projected once, before training. Source: diffusers
`models/transformers/transformer_cosmos.py`.
"""

from collections.abc import Iterable

from worldtune.errors import did_you_mean

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
MLP = ("ff.net.0.proj", "ff.net.2")
NORM = tuple(f"norm{place}.linear_{i}" for place in (1, 2, 3) for i in (1, 2))
IN_BLOCK = (*(f"attn{branch}.{part}" for branch in (1, 2) for part in ATTENTION), *MLP, *NORM)
OUTSIDE = (
    "patch_embed.proj", "time_embed.t_embedder.linear_1", "time_embed.t_embedder.linear_2", "norm_out.linear_1",
    "norm_out.linear_2", "proj_out",
)  # fmt: skip
LINEARS = IN_BLOCK + OUTSIDE
"""Each layer's name within its block, or in the denoiser; no two layers share one."""


def ends_in(name: str, ending: str) -> bool:
    """Return whether a module's name ends in the whole parts of `ending`, as peft matches `target_modules`."""
    return name == ending or name.endswith(f".{ending}")


def linear_of(module: str) -> str | None:
    """Return the entry of `LINEARS` for a module of the denoiser, None if there is none."""
    return next((linear for linear in LINEARS if ends_in(module, linear)), None)


def linears_ending_in(ending: str, among: Iterable[str] = LINEARS) -> list[str]:
    """Return the linear layers with this ending. Raise ValueError, suggesting the nearest ending, if there is none."""
    among = list(among)
    if found := [linear for linear in among if ends_in(linear, ending)]:
        return found
    known = {".".join(linear.split(".")[start:]) for linear in among for start in range(linear.count(".") + 1)}
    otherwise = f"They end in {', '.join(among)}."
    whose = "linear layer" if len(among) == len(LINEARS) else "targeted linear layer"
    raise ValueError(f"no {whose} ends in '{ending}'. {did_you_mean(ending, sorted(known), otherwise)}")
