"""Pictures to normalised latents and back: the Wan 2.1 VAE of Predict 2.5.

z = (μ − mean) / std with the posterior's mean μ and the config's per-channel statistics; pictures in [−1, 1].

Shapes: B clips, T frames, C channels, H×W pixels; latents have 1 + (T−1)/4 frames of H/8 × W/8.
Source: diffusers `pipelines/cosmos/pipeline_cosmos2_5_predict.py`.
"""

from math import inf, isfinite

import torch
from torch import Tensor

from worldtune.worlds.latent_size import SPATIAL, TEMPORAL
from worldtune.worlds.whole_clip_vae import WholeClipVae

WHOLE_CLIP_PIXELS = 2_000_000  # of B·T·H·W: above, features of all frames at once need too much memory


class Codec:
    """A frozen VAE, `whole_clip` or in chunks; what goes in and comes out is on `device`.

    Raises ValueError when its config's statistics are none, TypeError when they are no numbers.
    """

    def __init__(self, whole_clip: WholeClipVae, device: torch.device) -> None:
        self.vae, self.whole_clip = whole_clip.vae, whole_clip
        config = self.vae.config
        if not len(config.latents_mean) == len(config.latents_std) == config.z_dim or not all(
            isfinite(mean) and 0 < std < inf for mean, std in zip(config.latents_mean, config.latents_std, strict=True)
        ):
            raise ValueError("latents_mean and latents_std are no statistics of its channels")
        self.mean = torch.tensor(config.latents_mean, device=device).view(1, -1, 1, 1, 1)
        self.std = torch.tensor(config.latents_std, device=device).view(1, -1, 1, 1, 1)

    @torch.no_grad()
    def encode(self, frames_BTHWC: Tensor) -> Tensor:
        """Normalised latents z_BCTHW (fp32) of uint8 pictures; T must be 1 + 4n, H and W multiples of 16."""
        x_BCTHW = frames_BTHWC.to(self.mean.device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        x_BCTHW = x_BCTHW.to(self.vae.dtype)
        if _pixels(x_BCTHW) <= WHOLE_CLIP_PIXELS:
            moments = self.whole_clip.encode(x_BCTHW)
        else:
            moments = torch.cat([self.vae._encode(one) for one in x_BCTHW.split(1)])
        mean_BCTHW = moments.chunk(2, 1)[0].float()
        return (mean_BCTHW - self.mean) / self.std

    @torch.no_grad()
    def decode(self, z_BCTHW: Tensor) -> Tensor:
        """uint8 pictures frames_BTHWC of normalised latents."""
        x_BCTHW = self.decode_float(z_BCTHW)
        return ((x_BCTHW + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 4, 1)

    @torch.no_grad()
    def decode_float(self, z_BCTHW: Tensor) -> Tensor:
        """Pictures x_BCTHW in [−1, 1] of normalised latents, before rounding."""
        latents = (z_BCTHW * self.std + self.mean).to(self.vae.dtype)
        if _pixels(latents) * SPATIAL**2 * TEMPORAL <= WHOLE_CLIP_PIXELS:
            return self.whole_clip.decode(latents).float()
        return torch.cat([self.vae.decode(one).sample for one in latents.split(1)]).float()


def _pixels(x_BCTHW: Tensor) -> int:
    return x_BCTHW.numel() // x_BCTHW.shape[1]
