"""The Wan 2.1 VAE over a whole clip at once: the same numbers as diffusers' chunked path, faster on small clips.

diffusers' `AutoencoderKLWan` processes a clip in chunks of four frames and caches features between them: right for
720p, slow for small frames. Here all frames of a layer are one batch of images (channels last), and a causal 3-tap
convolution in time is one 2-D convolution over the channels of three neighboring frames. Taps that are zero everywhere
are skipped.

Shapes: B clips, C channels, T frames, H×W pixels, N = B·T images.
Source: diffusers `models/autoencoders/autoencoder_kl_wan.py` (Wan 2.1, arXiv:2503.20314).
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanCausalConv3d,
    WanMidBlock,
    WanResample,
    WanResidualBlock,
    WanRMS_norm,
)
from torch import Tensor, nn


class WholeClipVae:
    """A VAE that computes whole clips with the modules and parameters of `vae`.

    If its weights `have_data`, convolutions skip past taps in time that are zero. Raises ValueError for a Wan 2.2 VAE
    (`is_residual` or `patch_size`), which has other blocks.
    """

    def __init__(self, vae: AutoencoderKLWan, have_data: bool = True) -> None:
        self.have_data = have_data
        if vae.config.is_residual or vae.config.patch_size is not None:
            raise ValueError("the whole-clip path supports Wan 2.1 VAEs, and this is a Wan 2.2 VAE")
        self.vae = vae
        convolutions = [module for module in vae.modules() if isinstance(module, WanCausalConv3d)]
        self.memoryless = {
            conv
            for conv in convolutions
            if conv.kernel_size[0] == 1 or (have_data and not conv.weight[:, :, :-1].any())
        }

    def encode(self, x_BCTHW: Tensor) -> Tensor:
        """Return posterior moments (B, 2z, 1+(T-1)/4, H/8, W/8) of a clip in [-1, 1]; T = 1 + 4n."""
        encoder = self.vae.encoder
        x, frames = _images(x_BCTHW)
        x = self._conv(encoder.conv_in, x, frames)
        for layer in encoder.down_blocks:
            x, frames = self._block(layer, x, frames)
        x, frames = self._block(encoder.mid_block, x, frames)
        x = self._conv(encoder.conv_out, F.silu(_rms(encoder.norm_out, x)), frames)
        x = self._conv(self.vae.quant_conv, x, frames)
        return _clip(x, frames)

    def decode(self, z_BCTHW: Tensor) -> Tensor:
        """Return the clip (B, 3, 1+4(T-1), 8H, 8W) in [-1, 1] of unnormalized latents."""
        return self.decode_unclamped(z_BCTHW).clamp(-1, 1)

    def decode_unclamped(self, z_BCTHW: Tensor) -> Tensor:
        """Return the clip without the clamp to [-1, 1], which would zero gradients in training."""
        decoder = self.vae.decoder
        x, frames = _images(z_BCTHW)
        x = self._conv(self.vae.post_quant_conv, x, frames)
        x = self._conv(decoder.conv_in, x, frames)
        x, frames = self._block(decoder.mid_block, x, frames)
        for up_block in decoder.up_blocks:
            for resnet in up_block.resnets:
                x, frames = self._block(resnet, x, frames)
            if up_block.upsamplers is not None:
                x, frames = self._block(up_block.upsamplers[0], x, frames)
        x = self._conv(decoder.conv_out, F.silu(_rms(decoder.norm_out, x)), frames)
        return _clip(x, frames)

    def _block(self, block: nn.Module, x: Tensor, frames: int) -> tuple[Tensor, int]:
        if isinstance(block, WanResidualBlock):
            return self._residual(block, x, frames), frames
        if isinstance(block, WanAttentionBlock):
            return _attention(block, x), frames
        if isinstance(block, WanResample):
            return self._upsample(block, x, frames) if "up" in block.mode else self._downsample(block, x, frames)
        if not isinstance(block, WanMidBlock):
            raise TypeError(f"no whole-clip form of {type(block).__name__}")
        x = self._residual(block.resnets[0], x, frames)
        for attention, resnet in zip(block.attentions, block.resnets[1:], strict=True):
            x = self._residual(resnet, _attention(attention, x), frames)
        return x, frames

    def _residual(self, block: WanResidualBlock, x: Tensor, frames: int) -> Tensor:
        shortcut = x
        if isinstance(block.conv_shortcut, WanCausalConv3d):
            shortcut = self._conv(block.conv_shortcut, x, frames)
        x = self._conv(block.conv1, F.silu(_rms(block.norm1, x)), frames)
        x = self._conv(block.conv2, F.silu(_rms(block.norm2, x)), frames)
        return x + shortcut

    def _conv(self, conv: WanCausalConv3d, x_NCHW: Tensor, frames: int) -> Tensor:
        """Return a causal convolution over clips of `frames` frames, with zeros before the first."""
        pad = conv.kernel_size[1] // 2
        if conv in self.memoryless:
            return F.conv2d(x_NCHW, conv.weight[:, :, -1], conv.bias, padding=pad)
        x = x_NCHW.unflatten(0, (-1, frames))
        x = torch.cat([torch.zeros_like(x[:, :1]).expand(-1, 2, -1, -1, -1), x], 1)
        return F.conv2d(_neighbors(x, 1), _folded(conv), conv.bias, padding=pad)

    def _downsample(self, block: WanResample, x: Tensor, frames: int) -> tuple[Tensor, int]:
        x = block.resample(x)
        if block.mode == "downsample2d" or frames == 1:
            return x, frames
        x = x.unflatten(0, (-1, frames))
        later = F.conv2d(_neighbors(x, 2), _folded(block.time_conv), block.time_conv.bias)
        frames = (frames + 1) // 2
        return torch.cat([x[:, :1], later.unflatten(0, (-1, frames - 1))], 1).flatten(0, 1), frames

    def _upsample(self, block: WanResample, x: Tensor, frames: int) -> tuple[Tensor, int]:
        if block.mode == "upsample3d" and frames > 1:
            x = x.unflatten(0, (-1, frames))
            first, later = x[:, :1], x[:, 1:].flatten(0, 1)
            later = self._conv(block.time_conv, later, frames - 1).unflatten(0, (-1, frames - 1))
            later = later.unflatten(2, (2, -1)).flatten(1, 2)  # each frame becomes two
            frames = 2 * frames - 1
            x = torch.cat([first, later], 1).flatten(0, 1)
        upsampled = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return block.resample[1](upsampled), frames


def zero_past_taps(vae: AutoencoderKLWan, coarse_levels: int = 1) -> None:
    """Zero the past taps of a new VAE's 3×3×3 convolutions, except at the coarsest resolution.

    Frames are then mixed only at 1/8 of their size, and by the temporal resampling.
    """
    coarse = [vae.encoder.mid_block, vae.encoder.conv_out, vae.decoder.conv_in, vae.decoder.mid_block]
    resamples = [i for i, m in enumerate(vae.encoder.down_blocks) if isinstance(m, WanResample)]
    coarse += list(vae.encoder.down_blocks[resamples[-1] + 1 :])
    coarse += [up.resnets for up in vae.decoder.up_blocks[:coarse_levels]]
    kept = {conv for part in coarse for conv in part.modules()}
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d) and module.kernel_size == (3, 3, 3) and module not in kept:
            with torch.no_grad():
                module.weight[:, :, :-1] = 0


def _images(x_BCTHW: Tensor) -> tuple[Tensor, int]:
    """Return all frames as one batch of images, and the number of frames per clip."""
    x = x_BCTHW.transpose(1, 2).flatten(0, 1)
    return x.contiguous(memory_format=torch.channels_last), x_BCTHW.shape[2]


def _clip(x_NCHW: Tensor, frames: int) -> Tensor:
    return x_NCHW.unflatten(0, (-1, frames)).transpose(1, 2)


def _neighbors(x_BTCHW: Tensor, stride: int) -> Tensor:
    """Return frames t, t+1, t+2 concatenated by channels, for t = 0, stride, 2·stride, …"""
    last = x_BTCHW.shape[1] - 2
    taps = [x_BTCHW[:, tap : tap + last : stride] for tap in range(3)]
    return torch.cat(taps, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _folded(conv: WanCausalConv3d) -> Tensor:
    """Return a weight (O, I, 3, h, w) as (O, 3·I, h, w), in the order of `_neighbors`."""
    return conv.weight.transpose(1, 2).flatten(1, 2)


def _rms(norm: WanRMS_norm, x_NCHW: Tensor) -> Tensor:
    length = x_NCHW.square().sum(1, keepdim=True).clamp_min(1e-24).rsqrt()
    return x_NCHW * length * (norm.scale * norm.gamma.view(1, -1, 1, 1))


def _attention(block: WanAttentionBlock, x_NCHW: Tensor) -> Tensor:
    """Return single-head self-attention within each image."""
    q, k, v = block.to_qkv(_rms(block.norm, x_NCHW)).flatten(2).transpose(1, 2).unsqueeze(1).chunk(3, -1)
    mixed = F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())
    return x_NCHW + block.proj(mixed.squeeze(1).transpose(1, 2).unflatten(2, x_NCHW.shape[2:]))
