"""The action embedder of an adapter: two MLPs beside its LoRA, in a file of their own.

The file has NVIDIA's names (`action_embedder_B_D.fc1.weight`). It is separate because diffusers' LoRA loader, which
reads the adapter's other file, rejects tensors that are no LoRA. A base that is itself conditioned on actions keeps its
own embedder, and its adapters have no such file.
"""

from pathlib import Path

import torch
from diffusers import CosmosTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from worldtune.adapters.card import EMBEDDER, AdapterCard
from worldtune.core.actions.form import ActionForm
from worldtune.core.files import digest_file
from worldtune.diffusion.action_embedder import (
    EMBEDDERS,
    FORM,
    OWN,
    add_embedders,
    embedder_tensors,
    has_embedders,
    remove_embedders,
)
from worldtune.errors import AdapterError


def form_of(denoiser: CosmosTransformer3DModel) -> ActionForm | None:
    """Return the form in which the denoiser reads actions, None if it reads none."""
    form: ActionForm | None = getattr(denoiser, FORM, None)
    return form


def owns_embedders(denoiser: CosmosTransformer3DModel) -> bool:
    """Return whether the action embedders belong to the base, not to an adapter."""
    return bool(getattr(denoiser, OWN, False))


def add_action_embedders(denoiser: CosmosTransformer3DModel, form: ActionForm, seed: int) -> None:
    """Add an action embedder, fp32, whose output is zero. A base's own embedder stays: its form must be `form`.

    Raise AdapterError if the base reads actions in another form.
    """
    if owns_embedders(denoiser):
        if form_of(denoiser) != form:
            what = "the base reads actions in its own form, which is not the adapter's"
            raise AdapterError(what, where="actions", hint="Use the base that the adapter was made for.")
        return
    config = denoiser.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        add_embedders(denoiser, form.inputs, form.hidden, config.num_attention_heads * config.attention_head_dim)
    device = denoiser.time_embed.norm.weight.device
    for name in EMBEDDERS:
        denoiser.get_submodule(name).to(device, torch.float32)
    setattr(denoiser, FORM, form)


def remove_action_embedders(denoiser: CosmosTransformer3DModel) -> None:
    """Remove the adapter's action embedder, if any; a base's own one stays."""
    if not owns_embedders(denoiser) and has_embedders(denoiser):
        remove_embedders(denoiser)
        delattr(denoiser, FORM)


def save_embedder(folder: Path, denoiser: CosmosTransformer3DModel) -> str | None:
    """Write the adapter's action embedder and return the file's digest; None if it has none of its own."""
    if owns_embedders(denoiser) or not has_embedders(denoiser):
        return None
    path = folder / EMBEDDER
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in embedder_tensors(denoiser).items()}
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(folder.stat().st_mode & 0o666)
    return digest_file(path)


def check_not_conditioned(card: AdapterCard, where: str, what: str) -> None:
    """Raise AdapterError if the adapter is conditioned on actions, which `what` cannot hold."""
    if card.actions is not None:
        fault = f"the adapter is conditioned on actions, which {what} cannot hold"
        raise AdapterError(fault, where=where, hint="Use it as it is: worldtune generate --adapter … --actions FILE.")


def embedder_parameters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of an embedder's file by the names of the adapter's other file."""
    return {f"transformer.{name}": tensor for name, tensor in tensors.items()}
