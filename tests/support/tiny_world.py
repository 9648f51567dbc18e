"""A tiny random base model in diffusers' layout: the same classes and files as the pocket world, made in seconds.

No weight is zero, so an error in any path through the model changes the output. The last layer is fitted to videos by
least squares, so that the base predicts velocities better than zero does: training requires that.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLWan,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor, nn
from transformers import T5Config, T5EncoderModel, T5TokenizerFast

from make_text import make_encoder, make_tokenizer
from support.films import films
from worldtune.diffusion.flow import interpolate, shifted_logit_normal, velocity
from worldtune.models.resolve_base import TRAINED_AS
from worldtune.models.transformer.denoiser import forward
from worldtune.models.vae.full_clip import WholeClipVae

MODEL_INDEX = {
    "_class_name": "Cosmos2_5_PredictBasePipeline",
    "_diffusers_version": "0.42.1",
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
    "tokenizer": ["transformers", "Qwen2Tokenizer"],
    "transformer": ["diffusers", "CosmosTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLWan"],
}
TEXT_WIDTH = 32
FIRST_LOSS = [0.0, 2.2]  # this base predicts poorly


def make_tiny_world(folder: Path) -> Path:
    """Write the base into `folder`."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder / "tokenizer")
    make_encoder(tokenizer).save_pretrained(folder / "text_encoder")
    vae, z_BCTHW = make_vae(film_pictures())
    vae.save_pretrained(folder / "vae")
    make_denoiser(z_BCTHW).save_pretrained(folder / "transformer")
    UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0,
        sigma_min=0.01, final_sigmas_type="zero", solver_order=2, num_train_timesteps=1000,
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2) + "\n")
    (folder / TRAINED_AS).write_text(json.dumps({"trained_as": "pocket", "first_loss": FIRST_LOSS}))
    return folder


def make_tiny_predict2(folder: Path) -> Path:
    """Write a base as `make_tiny_world` does, in Predict 2's layout: a random two-layer T5, no text projection."""
    vae, z_BCTHW = make_vae(film_pictures())
    vae.save_pretrained(folder / "vae")
    make_t5_tokenizer().save_pretrained(folder / "tokenizer")
    config = T5Config(
        vocab_size=300, d_model=TEXT_WIDTH, d_kv=8, d_ff=64, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    torch.manual_seed(5)
    T5EncoderModel(config).eval().save_pretrained(folder / "text_encoder")
    make_denoiser(z_BCTHW, projection=False).save_pretrained(folder / "transformer")
    FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True).save_pretrained(folder / "scheduler")
    index = MODEL_INDEX | {
        "_class_name": "Cosmos2VideoToWorldPipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    (folder / TRAINED_AS).write_text(json.dumps({"trained_as": "predict2-2b/video2world", "first_loss": FIRST_LOSS}))
    return folder


def film_pictures() -> Tensor:
    """Return x_BCTHW in [−1, 1]."""
    frames_BTHWC = torch.stack([torch.from_numpy(frames_THWC) for frames_THWC, _ in films(64)])
    return frames_BTHWC.permute(0, 4, 1, 2, 3) / 127.5 - 1


def make_t5_tokenizer() -> T5TokenizerFast:
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -3.0) for letter in "abcdefghijklmnopqrstuvwxyz.,:"]
    pieces += [(f"▁{word}", -1.0) for word in ("the", "robot", "arm", "square", "goes", "down", "opens", "drawer")]
    tokenizer = T5TokenizerFast(vocab=pieces, extra_ids=0)
    tokenizer.model_max_length = 24
    return tokenizer


@torch.no_grad()
def make_vae(x_BCTHW: Tensor) -> tuple[AutoencoderKLWan, Tensor]:
    """Return a random VAE that normalizes latents by their statistics on the clips x, and those latents."""
    vae = AutoencoderKLWan(
        base_dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    randomize(vae, seed=2)
    codec = WholeClipVae(vae)
    mean_BCTHW = codec.encode(x_BCTHW).chunk(2, 1)[0]
    vae.decoder.conv_out.weight.mul_(0.3 / codec.decode_unclamped(mean_BCTHW[:8]).std())
    shift_C, scale_C = mean_BCTHW.mean((0, 2, 3, 4)), mean_BCTHW.std((0, 2, 3, 4))
    vae.register_to_config(latents_mean=shift_C.tolist(), latents_std=scale_C.tolist())
    return vae, (mean_BCTHW - shift_C.view(-1, 1, 1, 1)) / scale_C.view(-1, 1, 1, 1)


def make_denoiser(z_BCTHW: Tensor | None = None, *, projection: bool = True) -> CosmosTransformer3DModel:
    """Return a random denoiser, with or without a text `projection`; its last layer is fitted to `z_BCTHW` if given."""
    model = CosmosTransformer3DModel(
        in_channels=17, out_channels=16, num_attention_heads=2, attention_head_dim=24, num_layers=2, mlp_ratio=4.0,
        text_embed_dim=TEXT_WIDTH, adaln_lora_dim=16, max_size=(16, 32, 32), patch_size=(1, 2, 2),
        rope_scale=(1.0, 3.0, 3.0), concat_padding_mask=True, extra_pos_embed_type=None,
        use_crossattn_projection=projection, crossattn_proj_in_channels=128, encoder_hidden_states_channels=TEXT_WIDTH,
    )  # fmt: skip
    randomize(model, seed=1)
    if z_BCTHW is not None:
        _fit_last_layer(model, z_BCTHW)
    return model


@torch.no_grad()
def _fit_last_layer(model: CosmosTransformer3DModel, z_BCTHW: Tensor) -> None:
    generator = torch.Generator().manual_seed(4)
    noise_BCTHW = torch.randn(z_BCTHW.shape, generator=generator)
    sigma_B = shifted_logit_normal(torch.randn(len(z_BCTHW), generator=generator), 5.0)
    features: list[Tensor] = []
    hook = model.proj_out.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    cond_mask_BT = torch.zeros(len(z_BCTHW), z_BCTHW.shape[2])
    text_BND = torch.randn(len(z_BCTHW), 8, TEXT_WIDTH, generator=generator)
    x_BCTHW = interpolate(z_BCTHW, noise_BCTHW, sigma_B)
    forward(model, x_BCTHW, sigma_B[:, None].expand_as(cond_mask_BT), cond_mask_BT, text_BND)
    hook.remove()
    target = velocity(z_BCTHW, noise_BCTHW).unflatten(4, (-1, 2)).unflatten(3, (-1, 2))  # B, C, T, h, 2, w, 2
    target = target.permute(0, 2, 3, 5, 4, 6, 1).flatten(4).flatten(0, 3)  # features of a token: (2, 2, C)
    model.proj_out.weight.copy_(torch.linalg.lstsq(features[0].flatten(0, 2), target).solution.T)


def randomize(model: nn.Module, seed: int) -> nn.Module:
    """Make every weight random: matrices preserve the scale of their input, vectors are around 1 or 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1 and parameter[0].numel() > 1:
                parameter.copy_(noise * parameter[0].numel() ** -0.5)
            else:
                parameter.copy_((parameter == 1) + 0.2 * noise)
    return model.eval()
