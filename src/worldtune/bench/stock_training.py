"""The training step of diffusers' Cosmos LoRA example, rebuilt from the libraries' public interfaces.

At every step pictures and prompts are encoded, and peft's adapter, fp32, is trained on a bf16 base under autocast. Left
out is what that example does beside a step: reading videos, its rate's schedule, its log.

Source: huggingface/diffusers `examples/cosmos/train_cosmos_predict25_lora.py`.
Shapes: B clips, C channels, T frames, H×W pixels, N text tokens, E width of the text encoder's embeddings.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import Cosmos2_5_PredictBasePipeline, CosmosTransformer3DModel
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from torch import Tensor, nn

from worldtune.adapters.inject import adapter_parameters
from worldtune.adapters.spec import AdapterSpec
from worldtune.bench.ratio import Work
from worldtune.bench.stock import Unguarded, torchvision_names
from worldtune.bench.training_steps import RATE, draw
from worldtune.diffusion.conditioning import frame_sigmas, give_frames
from worldtune.diffusion.flow import interpolate, velocity
from worldtune.training.draws import Draws
from worldtune.worlds.latent_size import SPATIAL

CONDITIONAL_SIGMA, CLIP, WEIGHT_DECAY = 1e-4, 1.0, 1e-3
Read = Callable[[], tuple[Tensor, Tensor]]  # z_BCTHW, embeddings_BNE


def training_pipeline(folder: Path) -> Cosmos2_5_PredictBasePipeline:
    """The pipeline of `folder` in bf16, frozen."""
    pipe = Cosmos2_5_PredictBasePipeline.from_pretrained(
        folder, safety_checker=Unguarded(), dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False
    )
    for part in (pipe.transformer, pipe.vae, pipe.text_encoder):
        part.requires_grad_(False)
    return pipe


def encode_anew(pipe: Cosmos2_5_PredictBasePipeline, x_BCTHW: Tensor, prompts: list[str], length: int) -> Read:
    """Both encoders at every call, on pictures in [−1, 1] and prompts of `length` tokens."""

    def read() -> tuple[Tensor, Tensor]:
        mean_BCTHW = pipe.vae.encode(x_BCTHW.to(pipe.vae.dtype)).latent_dist.mean
        z_BCTHW = ((mean_BCTHW - pipe.latents_mean) * pipe.latents_std).float()
        embeddings_BNE, _ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=length)
        return z_BCTHW, embeddings_BNE

    return read


def add_stock_adapter(denoiser: CosmosTransformer3DModel, spec: AdapterSpec) -> list[nn.Parameter]:
    """peft's adapter of a frozen denoiser, begun in the base's precision and then cast to fp32; its parameters."""
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha or spec.rank,
        target_modules=list(spec.modules),
        use_dora=spec.method == "dora",
    )
    denoiser.requires_grad_(False)
    denoiser.add_adapter(config)
    cast_training_params(denoiser, torch.float32)
    return list(adapter_parameters(denoiser).values())


def stock_velocity(
    denoiser: CosmosTransformer3DModel, x_BCTHW: Tensor, sigma_BT: Tensor, known_BT: Tensor, embeddings_BNE: Tensor
) -> Tensor:
    """v_BCTHW, fp32, by diffusers' own forward under autocast where the base is bf16."""
    *_, frames, height, width = x_BCTHW.shape
    of_frames = (len(x_BCTHW), 1, frames, 1, 1)
    autocast = torch.autocast(x_BCTHW.device.type, torch.bfloat16, enabled=denoiser.dtype == torch.bfloat16)
    with torchvision_names(), autocast:
        v_BCTHW: Tensor = denoiser(
            hidden_states=x_BCTHW,
            condition_mask=known_BT.view(of_frames).expand(-1, -1, -1, height, width),
            timestep=sigma_BT.view(of_frames),
            encoder_hidden_states=embeddings_BNE,
            padding_mask=torch.zeros(1, 1, SPATIAL * height, SPATIAL * width, dtype=denoiser.dtype),
            return_dict=False,
        )[0]
    return v_BCTHW.float()


def stock_loss(denoiser: CosmosTransformer3DModel, z_BCTHW: Tensor, embeddings_BNE: Tensor, draws: Draws) -> Tensor:
    """The mean square error of the velocity, known frames overwritten with the truth."""
    x_BCTHW = give_frames(interpolate(z_BCTHW, draws.noise_BCTHW, draws.sigma_B), z_BCTHW, draws.known_BT)
    sigma_BT = frame_sigmas(draws.sigma_B, draws.known_BT, CONDITIONAL_SIGMA)
    target_BCTHW = velocity(z_BCTHW, draws.noise_BCTHW)
    v_BCTHW = stock_velocity(denoiser, x_BCTHW, sigma_BT, draws.known_BT, embeddings_BNE)
    return F.mse_loss(give_frames(v_BCTHW, target_BCTHW, draws.known_BT), target_BCTHW)


def stock_step(denoiser: CosmosTransformer3DModel, spec: AdapterSpec, read: Read) -> Work:
    """A step of a new adapter on what `read` gives; each call is the next."""
    parameters = add_stock_adapter(denoiser.train(), spec)
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=WEIGHT_DECAY)

    def step() -> None:
        z_BCTHW, embeddings_BNE = read()
        draws = draw(len(z_BCTHW), tuple(z_BCTHW.shape[1:]))
        given_BNE = embeddings_BNE.masked_fill(draws.dropped_B[:, None, None], 0.0)
        stock_loss(denoiser, z_BCTHW, given_BNE, draws).backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return step
