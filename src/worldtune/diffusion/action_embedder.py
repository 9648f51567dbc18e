"""Actions as a condition of the denoiser: two MLPs whose outputs are added to the time embedding of a latent frame.

One MLP's output is added to the embedding before its RMS norm, the other's to its AdaLN part. Latent frame 0 and given
frames get zeros. Module names and form are those of NVIDIA's `ActionChunkConditionedMinimalV1LVGDiT`
(github.com/nvidia-cosmos/cosmos-predict2.5,
`cosmos_predict2/_src/predict2/action/networks/action_conditioned_minimal_v1_lvg_dit.py`).

Shapes: B clips, J latent frames, I inputs of a latent frame, D width of the denoiser.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

TO_TIME, TO_ADALN = "action_embedder_B_D", "action_embedder_B_3D"
EMBEDDERS = (TO_TIME, TO_ADALN)
OWN_HIDDEN = 4  # times the denoiser's width: the hidden width of NVIDIA's own embedders
FORM, OWN = "action_form", "owns_action_embedders"
"""The denoiser's attributes: the form in which it reads actions, and whether the MLPs are the base's own."""


class ActionInputs(NamedTuple):
    """The inputs of each latent frame, and `given_BJ`: 1.0 where actions are given, 0.0 in frame 0 and without them."""

    inputs_BJI: Tensor
    given_BJ: Tensor

    def to(self, device: torch.device) -> "ActionInputs":
        return ActionInputs(self.inputs_BJI.to(device), self.given_BJ.to(device))

    def without(self, dropped_B: Tensor) -> "ActionInputs":
        """Return the inputs with the actions of the clips in `dropped_B` (bool) not given."""
        return self._replace(given_BJ=self.given_BJ * (~dropped_B[:, None]))


class ActionMlp(nn.Module):
    """Two linear layers with a GELU between them; with `zero_output` it starts at zero."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, zero_output: bool = True) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden)
        self.activation = nn.GELU(approximate="tanh")
        self.fc2 = nn.Linear(hidden, outputs)
        if zero_output:
            nn.init.zeros_(self.fc2.weight)
            nn.init.zeros_(self.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x.to(self.fc1.weight.dtype))))


def add_embedders(denoiser: nn.Module, inputs: int, hidden: int, dim: int, *, zero_output: bool = True) -> None:
    """Add the two MLPs to the denoiser, of width `dim`."""
    for name, outputs in ((TO_TIME, dim), (TO_ADALN, 3 * dim)):
        denoiser.add_module(name, ActionMlp(inputs, hidden, outputs, zero_output=zero_output))


def remove_embedders(denoiser: nn.Module) -> None:
    """Remove the two MLPs, if any."""
    for name in EMBEDDERS:
        if name in denoiser._modules:
            delattr(denoiser, name)


def has_embedders(denoiser: nn.Module) -> bool:
    return TO_TIME in denoiser._modules


def embed_actions(denoiser: nn.Module, actions: ActionInputs, cond_mask_BJ: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is added to the time embedding, (B, J, D), and to its AdaLN part, (B, J, 3D)."""
    shown_BJ1 = (actions.given_BJ * (1 - cond_mask_BJ))[:, :, None]
    to_time, to_adaln = (denoiser.get_submodule(name)(actions.inputs_BJI) for name in EMBEDDERS)
    return to_time * shown_BJ1, to_adaln * shown_BJ1


def embedder_tensors(denoiser: nn.Module) -> Mapping[str, Tensor]:
    """Return the tensors of the MLPs by NVIDIA's names, such as `action_embedder_B_D.fc1.weight`."""
    return {name: tensor for name, tensor in denoiser.state_dict().items() if name.startswith(EMBEDDERS)}
