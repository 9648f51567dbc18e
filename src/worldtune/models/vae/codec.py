"""Encode frames to normalized latents, and decode them: the Wan 2.1 VAE of Predict 2.5.

z = (μ − mean) / std with the posterior's mean μ and the config's per-channel statistics; frames are in [−1, 1].

Shapes: B clips, T frames, C channels, H×W pixels; latents have 1 + (T−1)/4 frames of H/8 × W/8.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py`.
"""

from math import inf, isfinite
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from worldtune.core.tensors.finite import is_finite
from worldtune.errors import BaseError
from worldtune.models.foreign_config import AsBaseError
from worldtune.models.vae.full_clip import WholeClipVae
from worldtune.models.vae.shapes import SPATIAL, TEMPORAL
from worldtune.models.weights import load_module

WHOLE_CLIP_PIXELS = 2_000_000  # B·T·H·W: above, the features of all frames together need too much memory


class Codec:
    """A frozen VAE that encodes and decodes whole clips or chunks; inputs and outputs are on `device`.

    Raises ValueError for invalid statistics in its config, TypeError if they are not numbers.
    """

    def __init__(self, whole_clip: WholeClipVae, device: torch.device) -> None:
        self.vae, self.whole_clip = whole_clip.vae, whole_clip
        config = self.vae.config
        if not len(config.latents_mean) == len(config.latents_std) == config.z_dim or not all(
            isfinite(mean) and 0 < std < inf for mean, std in zip(config.latents_mean, config.latents_std, strict=True)
        ):
            raise ValueError("latents_mean and latents_std are not statistics of its channels")
        self.mean = torch.tensor(config.latents_mean, device=device).view(1, -1, 1, 1, 1)
        self.std = torch.tensor(config.latents_std, device=device).view(1, -1, 1, 1, 1)

    @torch.no_grad()
    def encode(self, frames_BTHWC: Tensor) -> Tensor:
        """Return normalized latents z_BCTHW (fp32) of uint8 frames; T must be 1 + 4n, H and W multiples of 16."""
        x_BCTHW = frames_BTHWC.to(self.mean.device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        x_BCTHW = x_BCTHW.to(self.vae.dtype)
        if _pixels(x_BCTHW) <= WHOLE_CLIP_PIXELS:
            moments = self.whole_clip.encode(x_BCTHW)
        else:
            moments = torch.cat([self.vae._encode(clip) for clip in x_BCTHW.split(1)])
        mean_BCTHW = moments.chunk(2, 1)[0].float()
        return (mean_BCTHW - self.mean) / self.std

    @torch.no_grad()
    def decode(self, z_BCTHW: Tensor) -> Tensor:
        """Return uint8 frames_BTHWC of normalized latents. Raise BaseError if they contain NaN or infinity."""
        x_BCTHW = self.decode_float(z_BCTHW)
        if self.whole_clip.have_data and not is_finite(x_BCTHW):
            what = f"the VAE, in {self.vae.dtype}, decodes latents to NaN or infinity"
            raise BaseError(what, where="generated frames", hint="Use weights that make finite latents.")
        return ((x_BCTHW + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1)

    @torch.no_grad()
    def decode_float(self, z_BCTHW: Tensor) -> Tensor:
        """Return frames x_BCTHW in [−1, 1] of normalized latents, before rounding."""
        latents = (z_BCTHW * self.std + self.mean).to(self.vae.dtype)
        if _pixels(latents) * SPATIAL**2 * TEMPORAL <= WHOLE_CLIP_PIXELS:
            return self.whole_clip.decode(latents).float()
        return torch.cat([self.vae.decode(clip).sample for clip in latents.split(1)]).float()


def open_codec(
    folder: Path, device: torch.device, dtype: torch.dtype, offload_device: torch.device | None = None
) -> Codec:
    """Return the codec of a base's folder, computing on `device`; its weights are on `offload_device` when idle.

    Raise BaseError if the VAE is incomplete or of another kind.
    """
    vae = load_module(AutoencoderKLWan, folder / "vae", dtype).to(offload_device or device)
    with AsBaseError("this VAE cannot be used", folder / "vae"):
        return Codec(WholeClipVae(vae), device)


def _pixels(x_BCTHW: Tensor) -> int:
    return x_BCTHW.numel() // x_BCTHW.shape[1]
