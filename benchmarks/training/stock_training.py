"""The training step of diffusers' Cosmos LoRA example, rebuilt from the libraries' public interfaces.

Every step encodes frames and prompts, and trains peft's fp32 adapter on a bf16 base under autocast. The example's other
work is left out: reading videos, the learning rate's schedule, and the log.

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

from benchmarks.ratio import Work
from benchmarks.stock import NoGuardrail, torchvision_names
from benchmarks.training.training_steps import RATE, draw
from worldtune.adapters.inject import adapter_parameters
from worldtune.adapters.spec import AdapterSpec
from worldtune.diffusion.conditioning import apply_conditioning, frame_sigmas
from worldtune.diffusion.flow import interpolate, velocity
from worldtune.models.vae.shapes import SPATIAL
from worldtune.training.data.sampling_noise import NoiseDraws

CONDITIONAL_SIGMA, CLIP, WEIGHT_DECAY = 1e-4, 1.0, 1e-3
Read = Callable[[], tuple[Tensor, Tensor]]  # z_BCTHW, embeddings_BNE


def training_pipeline(folder: Path) -> Cosmos2_5_PredictBasePipeline:
    """Return the pipeline of `folder`, frozen and in bf16."""
    pipe = Cosmos2_5_PredictBasePipeline.from_pretrained(
        folder, safety_checker=NoGuardrail(), dtype=torch.bfloat16, use_safetensors=True, trust_remote_code=False
    )
    for part in (pipe.transformer, pipe.vae, pipe.text_encoder):
        part.requires_grad_(False)
    return pipe


def encode_each_step(pipe: Cosmos2_5_PredictBasePipeline, x_BCTHW: Tensor, prompts: list[str], length: int) -> Read:
    """Return a function that runs both encoders, on frames in [−1, 1] and prompts of `length` tokens."""

    def read() -> tuple[Tensor, Tensor]:
        mean_BCTHW = pipe.vae.encode(x_BCTHW.to(pipe.vae.dtype)).latent_dist.mean
        z_BCTHW = ((mean_BCTHW - pipe.latents_mean) * pipe.latents_std).float()
        embeddings_BNE, _ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=length)
        return z_BCTHW, embeddings_BNE

    return read


def add_stock_adapter(denoiser: CosmosTransformer3DModel, spec: AdapterSpec) -> list[nn.Parameter]:
    """Add peft's adapter to a frozen denoiser, in the base's precision and then cast to fp32; return its parameters."""
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
    denoiser: CosmosTransformer3DModel, x_BCTHW: Tensor, sigma_BT: Tensor, cond_mask_BT: Tensor, embeddings_BNE: Tensor
) -> Tensor:
    """Return v_BCTHW in fp32, by diffusers' forward, under autocast if the base is bf16."""
    *_, frames, height, width = x_BCTHW.shape
    frame_shape = (len(x_BCTHW), 1, frames, 1, 1)
    autocast = torch.autocast(x_BCTHW.device.type, torch.bfloat16, enabled=denoiser.dtype == torch.bfloat16)
    with torchvision_names(), autocast:
        v_BCTHW: Tensor = denoiser(
            hidden_states=x_BCTHW,
            condition_mask=cond_mask_BT.view(frame_shape).expand(-1, -1, -1, height, width),
            timestep=sigma_BT.view(frame_shape),
            encoder_hidden_states=embeddings_BNE,
            padding_mask=torch.zeros(1, 1, SPATIAL * height, SPATIAL * width, dtype=denoiser.dtype),
            return_dict=False,
        )[0]
    return v_BCTHW.float()


def stock_loss(
    denoiser: CosmosTransformer3DModel, z_BCTHW: Tensor, embeddings_BNE: Tensor, draws: NoiseDraws
) -> Tensor:
    """Return the mean square error of the velocity, with known frames overwritten by the target."""
    x_BCTHW = apply_conditioning(interpolate(z_BCTHW, draws.noise_BCTHW, draws.sigma_B), z_BCTHW, draws.cond_mask_BT)
    sigma_BT = frame_sigmas(draws.sigma_B, draws.cond_mask_BT, CONDITIONAL_SIGMA)
    target_BCTHW = velocity(z_BCTHW, draws.noise_BCTHW)
    v_BCTHW = stock_velocity(denoiser, x_BCTHW, sigma_BT, draws.cond_mask_BT, embeddings_BNE)
    return F.mse_loss(apply_conditioning(v_BCTHW, target_BCTHW, draws.cond_mask_BT), target_BCTHW)


def stock_step(denoiser: CosmosTransformer3DModel, spec: AdapterSpec, read: Read) -> Work:
    """Return a training step of a new adapter on the data of `read`; each call is the next step."""
    parameters = add_stock_adapter(denoiser.train(), spec)
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=WEIGHT_DECAY)

    def step() -> None:
        z_BCTHW, embeddings_BNE = read()
        draws = draw(len(z_BCTHW), tuple(z_BCTHW.shape[1:]))
        text_BNE = embeddings_BNE.masked_fill(draws.dropped_B[:, None, None], 0.0)
        stock_loss(denoiser, z_BCTHW, text_BNE, draws).backward()
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        optimizer.zero_grad()

    return step
