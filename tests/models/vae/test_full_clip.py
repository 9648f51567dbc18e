import pytest
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

from support.tiny_world import randomize
from worldtune.models.vae.full_clip import WholeClipVae, zero_past_taps


def make_vae(zero_past: bool, num_res_blocks: int = 1) -> AutoencoderKLWan:
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=num_res_blocks,
        temperal_downsample=[False, True, True],
    )  # fmt: skip
    randomize(vae, seed=0)
    if zero_past:
        zero_past_taps(vae)
    return vae


@pytest.mark.parametrize("frames", [1, 5, 21])
@pytest.mark.parametrize("zero_past", [False, True])
@torch.no_grad()
def test_result_equals_diffusers_chunked_path(frames: int, zero_past: bool) -> None:
    vae = make_vae(zero_past)
    whole = WholeClipVae(vae)
    x_BCTHW = torch.rand(2, 3, frames, 16, 24, generator=torch.Generator().manual_seed(1)) * 2 - 1
    ours, theirs = whole.encode(x_BCTHW), vae._encode(x_BCTHW)
    assert ours.shape == (2, 8, 1 + (frames - 1) // 4, 2, 3)
    assert theirs.std() > 0.1
    assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())

    z_BCTHW = theirs[:, :4]
    pictures, stock = whole.decode(z_BCTHW), vae.decode(z_BCTHW).sample
    assert pictures.shape == x_BCTHW.shape
    assert stock.std() > 0.01
    assert (stock.abs() < 1).float().mean() > 0.2
    assert (pictures - stock).abs().max() < 1e-4


@torch.no_grad()
def test_a_single_past_tap_is_used() -> None:
    vae = make_vae(zero_past=False)
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d) and module.kernel_size[0] == 3:
            module.weight[:, :, 0] = 0
    x_BCTHW = torch.rand(1, 3, 5, 16, 16, generator=torch.Generator().manual_seed(1))
    theirs = vae._encode(x_BCTHW)
    assert torch.allclose(WholeClipVae(vae).encode(x_BCTHW), theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


@torch.no_grad()
def test_result_equals_diffusers_with_two_blocks_per_level() -> None:
    vae = make_vae(zero_past=False, num_res_blocks=2)
    x_BCTHW = torch.rand(1, 3, 9, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    theirs = vae._encode(x_BCTHW)
    assert torch.allclose(WholeClipVae(vae).encode(x_BCTHW), theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())
    z_BCTHW = theirs[:, :4]
    assert (WholeClipVae(vae).decode(z_BCTHW) - vae.decode(z_BCTHW).sample).abs().max() < 1e-4


@torch.no_grad()
def test_latents_do_not_depend_on_later_frames() -> None:
    whole = WholeClipVae(make_vae(zero_past=False))
    x_BCTHW = torch.rand(1, 3, 9, 16, 16, generator=torch.Generator().manual_seed(1))
    later = x_BCTHW.clone()
    later[:, :, 5:] = 0
    assert torch.allclose(whole.encode(x_BCTHW)[:, :, :2], whole.encode(later)[:, :, :2], atol=1e-5)


def test_past_taps_are_zero_except_at_the_coarsest_level() -> None:
    vae = make_vae(zero_past=True)
    assert not vae.encoder.conv_in.weight[:, :, :-1].any()
    assert not vae.decoder.conv_out.weight[:, :, :-1].any()
    assert vae.encoder.mid_block.resnets[0].conv1.weight[:, :, :-1].any()
    assert vae.decoder.mid_block.resnets[0].conv1.weight[:, :, :-1].any()
    assert all(module.weight[:, :, -1].any() for module in WholeClipVae(vae).memoryless)


def test_gradients_pass_through_encoder_and_decoder() -> None:
    vae = make_vae(zero_past=False)
    whole = WholeClipVae(vae)
    x_BCTHW = torch.rand(1, 3, 5, 16, 16, generator=torch.Generator().manual_seed(1))
    whole.decode_unclamped(whole.encode(x_BCTHW)[:, :4]).square().mean().backward()
    without = [name for name, p in vae.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in without if not name.startswith("quant_conv")] == []


def test_a_wan_2_2_vae_is_refused() -> None:
    vae = AutoencoderKLWan(base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1,
                           temperal_downsample=[False, True, True], is_residual=True, patch_size=2, in_channels=12,
                           out_channels=12)  # fmt: skip
    with pytest.raises(ValueError, match=r"Wan 2\.2"):
        WholeClipVae(vae)
