"""The action embedders of a base that is itself conditioned on actions, from NVIDIA's checkpoint.

Source: github.com/nvidia-cosmos/cosmos-predict2.5 (`action_conditioned_minimal_v1_lvg_dit.py`).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor

from worldtune.core.actions.form import ROWS, ActionForm, Statistics
from worldtune.core.actions.space import ActionSpace
from worldtune.core.tensors.names import strip_wrappers
from worldtune.diffusion.action_embedder import EMBEDDERS, FORM, OWN, TO_TIME, add_embedders, embedder_tensors
from worldtune.errors import BaseError
from worldtune.models.catalog import ActionConditioning, KnownBase
from worldtune.models.weights import find_faults, raise_first_fault

LARGEST = 5.0  # scaled numbers of a plausible action: ±0.25 m or rad in one frame


def split_embedder(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of the action embedders by bare names, and the others by the checkpoint's names."""
    embedder = {
        bare: tensor for name, tensor in tensors.items() if (bare := strip_wrappers(name)).startswith(EMBEDDERS)
    }
    return embedder, {name: t for name, t in tensors.items() if not strip_wrappers(name).startswith(EMBEDDERS)}


def add_own_embedders(
    model: CosmosTransformer3DModel, known: KnownBase, tensors: Mapping[str, Tensor], dtype: torch.dtype, where: Path
) -> None:
    """Add the base's own action embedders to its denoiser, frozen, with every tensor accounted for.

    Raise BaseError if a base that reads actions has no embedder, or the reverse, or a tensor does not fit.
    """
    if not tensors and known.actions is None:
        return
    if known.actions is None:
        hint = "State it: predict2.5-2b/robot/action-cond=FOLDER+CHECKPOINT."
        raise BaseError(f"it reads actions, which {known.name} does not", where=str(where), hint=hint)
    if f"{TO_TIME}.fc1.weight" not in tensors:
        what = f"the weights of {known.name} have no action embedder"
        raise BaseError(what, where=str(where), hint=f"Add its checkpoint after a +: {known.checkpoint}.")
    hidden = len(tensors[f"{TO_TIME}.fc1.weight"])
    config = model.config
    with torch.device("meta"):
        add_embedders(
            model, ROWS * len(known.actions.scale), hidden, config.num_attention_heads * config.attention_head_dim
        )
    expected = {name: tuple(t.shape) for name, t in embedder_tensors(model).items()}
    raise_first_fault(find_faults(expected, {name: tuple(t.shape) for name, t in tensors.items()}), where)
    for name in EMBEDDERS:
        part = {key.removeprefix(f"{name}."): t.to(dtype) for key, t in tensors.items() if key.startswith(f"{name}.")}
        model.get_submodule(name).load_state_dict(part, assign=True)
    model.requires_grad_(False)
    setattr(model, FORM, own_form(known.actions, hidden))
    setattr(model, OWN, True)


def own_form(actions: ActionConditioning, hidden: int) -> ActionForm:
    """Return NVIDIA's form: rows times a constant scale, without running sums and first state."""
    count = len(actions.scale)
    scaled = Statistics(
        mean=(0.0,) * count, std=tuple(1 / scale for scale in actions.scale), largest=(LARGEST,) * count
    )
    return ActionForm(
        space=ActionSpace(kind="delta", state_columns=actions.state_columns), hidden=hidden, actions=scaled
    )
