"""Reject an adapter with NaN or infinity: merging or blending would spread them silently."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from worldtune.core.tensors.finite import find_non_finite
from worldtune.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor


def check_finite(tensors: "Mapping[str, Tensor]", where: str) -> None:
    """Raise AdapterError, naming the first such tensor, if one contains NaN or infinity.

    Names are those of a file, or of modules followed by the part: `transformer_blocks.0.attn1.to_q.lora_A`.
    """
    for name in find_non_finite(tensors):
        module, dot, part = name.removeprefix("transformer.").partition(".lora_")
        what = f"{module} contains NaN or infinity" + (f", in lora_{part}" if dot else "")
        raise AdapterError(what, where=where, hint="Export it again from a step before its training diverged.")
