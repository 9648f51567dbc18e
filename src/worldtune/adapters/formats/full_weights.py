"""Full weights in an adapter's file: those trained with the adapter, and those of the base in a full checkpoint."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from worldtune.adapters.formats import ForeignAdapter
from worldtune.errors import AdapterError

if TYPE_CHECKING:
    from torch import Tensor

THE_BASE = "equal to the base's weight"
NOT_COMPARED = "a full weight, not compared with a base"


def drop_other_weights(read: ForeignAdapter, where: str) -> ForeignAdapter:
    """Return the adapter with the file's other weights left out.

    Raise AdapterError for fully trained weights, which a LoRA or DoRA cannot hold.
    """
    check_none_trained(read, where)
    return _leaving_out(read, NOT_COMPARED)


def drop_base_weights(read: ForeignAdapter, base: "Mapping[str, Tensor]", where: str) -> ForeignAdapter:
    """Return the adapter with the file's other weights left out; `base` holds the base's weights by diffusers' names.

    Raise AdapterError for a weight that differs from the base's.
    """
    if differing := [name for name, tensor in read.other_weights.items() if not _same(tensor, base.get(name))]:
        what = f"{_first(differing)} in the file {'differs' if len(differing) == 1 else 'differ'} from this base's"
        hint = "Specify the base that it was made for; a LoRA cannot hold a fully trained weight."
        raise AdapterError(what, where=where, hint=hint)
    return _leaving_out(read, THE_BASE)


def check_none_trained(read: ForeignAdapter, where: str) -> None:
    """Raise AdapterError if weights were fully trained with the adapter."""
    if read.trained:
        single = len(read.trained) == 1
        verbs = ("was", "fits") if single else ("were", "fit")
        what = f"{_first(list(read.trained))} {verbs[0]} trained in full (modules_to_save) and {verbs[1]} no LoRA"
        raise AdapterError(what, where=where, hint="Write it into its base with `worldtune adapter merge`.")


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more weights"


def _leaving_out(read: ForeignAdapter, reason: str) -> ForeignAdapter:
    return replace(read, left_out=read.left_out | dict.fromkeys(read.other_weights, reason), other_weights={})


def _same(tensor: "Tensor", base: "Tensor | None") -> bool:
    """Return whether two tensors are equal in the less precise of their types."""
    if base is None or tensor.shape != base.shape:
        return False
    import torch

    return torch.equal(tensor.to(base.dtype), base) or torch.equal(base.to(tensor.dtype), tensor)
