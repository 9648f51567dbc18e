"""The encoder of an IDM: small convolutions, or a pretrained vision transformer whose weights stay frozen.

Shapes: B images, C = 3 colors, H×W pixels, F features.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from worldtune.core.files import digest_file, digest_json
from worldtune.core.pretrained import SAFE_LOADING
from worldtune.dreams.idm.network import InverseDynamicsNetwork, SmallEncoder
from worldtune.errors import DataError, first_line

SMALL = "small"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, which such models expect


class PretrainedEncoder(nn.Module):
    """A frozen vision transformer: images in [−1, 1] to the grid of its patches' features."""

    mean_C11: Tensor
    std_C11: Tensor

    def __init__(self, model: nn.Module, image_size: int, channels: int) -> None:
        super().__init__()
        self.model = model.requires_grad_(False).eval()
        self.channels = channels
        self._image_size = image_size
        self.register_buffer("mean_C11", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std_C11", torch.tensor(STD)[:, None, None], persistent=False)

    @torch.no_grad()
    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return features (B, F, h, w), one per patch."""
        size = (self._image_size, self._image_size)
        x_BCHW = F.interpolate(x_BCHW, size, mode="bilinear", antialias=True)
        tokens_BNF = self.model(((x_BCHW + 1) / 2 - self.mean_C11) / self.std_C11).last_hidden_state
        side = math.isqrt(tokens_BNF.shape[1])  # drops class and register tokens, which come first
        return tokens_BNF[:, -side * side :].transpose(1, 2).unflatten(2, (side, side))

    def train(self, mode: bool = True) -> "PretrainedEncoder":
        """Stay in evaluation mode, because the weights are frozen."""
        return super().train(False)


def make_network(encoder: str, commands: int, states: int) -> InverseDynamicsNetwork:
    """Return an untrained network. Raise DataError if the pretrained encoder cannot be read."""
    part = SmallEncoder() if encoder == SMALL else _pretrained(Path(encoder))
    return InverseDynamicsNetwork(part, part.channels, commands, states)


def encoder_digest(encoder: str) -> str | None:
    """Return the digest of the pretrained encoder's files, None for the small encoder."""
    if encoder == SMALL:
        return None
    return digest_json({path.name: digest_file(path) for path in sorted(Path(encoder).glob("*")) if path.is_file()})


def _pretrained(folder: Path) -> PretrainedEncoder:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, use_safetensors=True, **SAFE_LOADING)
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, **SAFE_LOADING)
    except (OSError, ValueError) as error:
        hint = "Give the folder of a vision model such as DINOv2 or SigLIP, in transformers' layout."
        raise DataError(f"the encoder cannot be read: {first_line(error)}", where=str(folder), hint=hint) from error
    vision = getattr(config, "vision_config", config)
    part = getattr(model, "vision_model", model)
    if not hasattr(vision, "image_size") or not hasattr(vision, "hidden_size"):
        raise DataError("this is not a vision transformer", where=str(folder), hint="Use DINOv2, SigLIP or CLIP.")
    return PretrainedEncoder(part, vision.image_size, vision.hidden_size)
