"""An inverse dynamics model: an ensemble of networks and its card. It labels videos with commands and states.

Shape letters: M members, T frames, I = T − 1 intervals, D numbers of a command, S numbers of a state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from worldtune.core.files import atomic_folder, digest_bytes, digest_file
from worldtune.core.strict_io import MIB, read_bytes
from worldtune.core.tensors.read import parse_safetensors
from worldtune.dreams.idm.card import CARD, HINT, WEIGHTS, IdmCard, read_idm_card, write_idm_card
from worldtune.dreams.idm.encoder import encoder_digest, make_network
from worldtune.dreams.idm.examples import Array, Frames, as_input, resize
from worldtune.dreams.idm.labels import Labels, join_predictions
from worldtune.dreams.idm.network import InverseDynamicsNetwork, Prediction
from worldtune.errors import DataError

LARGEST_WEIGHTS = 4096 * MIB
FROZEN = ".encoder.model."  # tensors of a pretrained encoder, which are not stored


@dataclass(frozen=True, eq=False)
class InverseDynamics:
    """A trained IDM. `digest` is that of its card's bytes, which covers the weights."""

    card: IdmCard
    networks: Sequence[InverseDynamicsNetwork]
    digest: str

    def label(self, frames_THWC: Frames, start_S: Array | None = None) -> Labels:
        """Return the commands, states and uncertainty of a video, uint8 RGB.

        `start_S` is the known state in the first frame; without it the states are read from the frames alone. Raise
        DataError if the video is not of the IDM's size, or the start not of its states.
        """
        self._check(frames_THWC, start_S)
        predictions = predict(self.networks, resize(frames_THWC, self.card.side))
        return join_predictions(predictions, self.card, start_S)

    def _check(self, frames_THWC: Frames, start_S: Array | None) -> None:
        height, width = frames_THWC.shape[1:3]
        if (height, width) != (self.card.height, self.card.width) or len(frames_THWC) < 2:
            size = f"{self.card.height}×{self.card.width}"
            what = f"a video of {len(frames_THWC)} frames of {height}×{width} does not fit an IDM of {size}"
            raise DataError(what, where=self.card.name, hint="Train an IDM on clips of this size.")
        if start_S is not None and len(start_S) != len(self.card.state_names):
            what = f"a start of {len(start_S)} numbers does not fit an IDM of {len(self.card.state_names)} states"
            raise DataError(what, where=self.card.name, hint="Use the states that the IDM was trained on.")


@torch.inference_mode()
def predict(networks: Sequence[InverseDynamicsNetwork], frames_TCHW: Frames) -> list[Prediction]:
    """Return each network's standardized predictions for the consecutive pairs of a video."""
    x_TCHW = as_input(frames_TCHW)
    predictions = []
    for network in networks:
        e_TE = network.read_keypoints(x_TCHW)
        predictions.append(network.read_pairs(torch.stack([e_TE[:-1], e_TE[1:]], 1)))
    return predictions


def save_idm(folder: Path, networks: Sequence[InverseDynamicsNetwork], card: IdmCard) -> InverseDynamics:
    """Write the networks and the card as one atomic folder, and return the IDM. The card gets the weights' digest."""
    tensors = {
        f"{number}.{name}": tensor.contiguous()
        for number, network in enumerate(networks)
        for name, tensor in network.state_dict().items()
        if FROZEN not in f".{name}"
    }
    with atomic_folder(folder) as partial:
        save_file(tensors, partial / WEIGHTS)
        (partial / WEIGHTS).chmod(partial.stat().st_mode & 0o666)
        card = card.model_copy(update={"weights_digest": digest_file(partial / WEIGHTS)})
        write_idm_card(partial, card)
        digest = digest_file(partial / CARD)
    return InverseDynamics(card, networks, digest)


def load_idm(folder: Path) -> InverseDynamics:
    """Return the IDM in a folder, or in the `idm` folder of a run.

    Raise DataError if its card or weights are missing, changed, or of another encoder.
    """
    folder = folder / "idm" if (folder / "idm" / CARD).is_file() else folder
    card, digest = read_idm_card(folder)
    content = read_bytes(folder / WEIGHTS, LARGEST_WEIGHTS, DataError, HINT)
    if digest_bytes(content) != card.weights_digest:
        raise DataError("the weights do not match the card", where=str(folder), hint=HINT)
    if encoder_digest(card.encoder) != card.encoder_digest:
        raise DataError("the pretrained encoder has changed", where=card.encoder, hint="Restore its files.")
    tensors = parse_safetensors(content, str(folder / WEIGHTS))[0]
    networks = [_load_network(card, number, tensors, folder) for number in range(card.members)]
    return InverseDynamics(card, networks, digest)


def _load_network(card: IdmCard, number: int, tensors: dict[str, Tensor], folder: Path) -> InverseDynamicsNetwork:
    commands = len(card.statistics.command.mean)
    network = make_network(card.encoder, commands, len(card.state_names))
    expected = {name for name in network.state_dict() if FROZEN not in f".{name}"}
    own = {name.removeprefix(f"{number}."): t for name, t in tensors.items() if name.startswith(f"{number}.")}
    shapes = {name: network.state_dict()[name].shape for name in expected}
    if own.keys() != expected or any(own[name].shape != shape for name, shape in shapes.items()):
        raise DataError("the weights do not fit the card", where=str(folder / WEIGHTS), hint=HINT)
    network.load_state_dict(own, strict=False)
    return network.eval()
