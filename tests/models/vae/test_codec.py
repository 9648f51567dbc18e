from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan
from hypothesis import given
from hypothesis import strategies as st

from support.films import films
from worldtune.models.vae import codec as codec_module
from worldtune.models.vae.codec import Codec
from worldtune.models.vae.full_clip import WholeClipVae
from worldtune.models.vae.shapes import latent_frames


@pytest.fixture(scope="module")
def codec(tiny_world: Path) -> Codec:
    vae = AutoencoderKLWan.from_pretrained(tiny_world / "vae").eval().requires_grad_(False)
    return Codec(WholeClipVae(vae), torch.device("cpu"))


@pytest.fixture(name="frames_BTHWC")
def two_films() -> torch.Tensor:
    return torch.stack([torch.from_numpy(frames_THWC) for frames_THWC, _ in films(2)])


def test_latents_are_normalized_posterior_means(codec: Codec, tiny_world: Path, frames_BTHWC: torch.Tensor) -> None:
    vae = AutoencoderKLWan.from_pretrained(tiny_world / "vae")
    x_BCTHW = (frames_BTHWC.permute(0, 4, 1, 2, 3).double() / 255 * 2 - 1).float()
    with torch.no_grad():
        mean_BCTHW = vae.encode(x_BCTHW).latent_dist.mode().double()
    for channel in range(16):
        shift, scale = vae.config.latents_mean[channel], vae.config.latents_std[channel]
        mean_BCTHW[:, channel] = (mean_BCTHW[:, channel] - shift) / scale
    z_BCTHW = codec.encode(frames_BTHWC)
    assert z_BCTHW.dtype == torch.float32
    assert (z_BCTHW - mean_BCTHW).abs().max() < 1e-4


def test_frames_are_rounded_to_256_levels(codec: Codec, frames_BTHWC: torch.Tensor) -> None:
    z_BCTHW = codec.encode(frames_BTHWC)
    exact = (codec.decode_float(z_BCTHW).double() + 1) / 2 * 255
    pictures = codec.decode(z_BCTHW)
    assert pictures.dtype == torch.uint8
    assert pictures.shape == frames_BTHWC.shape
    assert (pictures.permute(0, 4, 1, 2, 3) - exact).abs().max() <= 0.5 + 1e-4


def test_large_clips_use_diffusers_path_with_the_same_result(
    codec: Codec, frames_BTHWC: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    z_BCTHW = codec.encode(frames_BTHWC)
    pictures = codec.decode_float(z_BCTHW)
    monkeypatch.setattr(codec_module, "WHOLE_CLIP_PIXELS", 0)
    assert (codec.encode(frames_BTHWC) - z_BCTHW).abs().max() < 1e-4
    assert (codec.decode_float(z_BCTHW) - pictures).abs().max() < 1e-4


@given(st.integers(0, 200))
def test_latent_frames(n: int) -> None:
    assert latent_frames(1 + 4 * n) == 1 + n


@given(st.integers(-10, 200).filter(lambda frames: frames < 1 or frames % 4 != 1))
def test_other_lengths_are_refused(frames: int) -> None:
    with pytest.raises(ValueError, match="1, 5, 9"):
        latent_frames(frames)
