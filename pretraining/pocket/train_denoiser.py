"""Train the pocket world's denoiser: `torchrun --nproc-per-node 2 train_denoiser.py CLIPS WORLD OUT --steps N`.

The objective is Predict 2.5's: rectified flow, logit-normal noise levels with shift 5, known frames at σ = 1e-4,
text dropped to zeros before the projection. The script encodes latents once with WORLD/vae, measures their statistics,
and stores them in OUT/latents.pt. It starts from scratch, or from WORLD's denoiser (`--go-on`, for instance after a
small change of the VAE). It resumes from OUT/denoiser.pt.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from diffusers import AutoencoderKLWan, CosmosTransformer3DModel
from torch import Tensor

from clips import Clips, Ema, as_video, average_gradients, join_workers, load_clips, save_checkpoint
from domain import HELD_OUT, SHOWN
from mixed_precision import Float32Attention
from muon import Muon, matrices_and_rest
from worldtune.diffusion.conditioning import apply_conditioning, conditioning_mask, frame_sigmas
from worldtune.diffusion.flow import interpolate, shifted_logit_normal, velocity
from worldtune.diffusion.loss import squared_error_per_clip
from worldtune.models.text.reason1 import TextEncoder
from worldtune.models.transformer.denoiser import forward, project_text
from worldtune.models.vae.full_clip import WholeClipVae
from worldtune.training.data.sampling_noise import NoiseDraws, held_out_draws

MODES = torch.tensor([0.1, 0.65, 0.25])  # k = 0, 1, 2 known latent frames
TEXT_DROPOUT = 0.1
SHIFT = 5.0
CONDITIONAL_SIGMA = 1e-4
MUON_RATE = 4.0  # from scratch, orthogonal steps may be larger than Adam's
BATCH = 16  # clips per worker and step


def new_denoiser() -> CosmosTransformer3DModel:
    torch.manual_seed(0)
    model = CosmosTransformer3DModel(
        in_channels=17, out_channels=16, num_attention_heads=4, attention_head_dim=48, num_layers=6, mlp_ratio=4.0,
        text_embed_dim=64, adaln_lora_dim=48, max_size=(16, 32, 32), patch_size=(1, 2, 2), rope_scale=(1.0, 1.0, 1.0),
        concat_padding_mask=True, extra_pos_embed_type=None, use_crossattn_projection=True,
        crossattn_proj_in_channels=128, encoder_hidden_states_channels=64,
    )  # fmt: skip
    with torch.no_grad():  # blocks start without effect, and the output is zero
        for block in model.transformer_blocks:
            for norm in (block.norm1, block.norm2, block.norm3):
                norm.linear_2.weight.zero_()
        model.norm_out.linear_2.weight.zero_()
        model.proj_out.weight.zero_()
    return model


@torch.no_grad()
def encode(frames_NTHWC: np.ndarray, wan: WholeClipVae) -> Tensor:
    """Return the posterior means (N, 16, 6, 8, 8), not normalized."""
    parts = [wan.encode(as_video(frames_NTHWC[i : i + 4])).chunk(2, 1)[0] for i in range(0, len(frames_NTHWC), 4)]
    return torch.cat(parts)


def load_latents(clips: Clips, held_out: Clips, world: Path, path: Path, rank: int, workers: int) -> dict[str, Tensor]:
    """Return the normalized latents of both sets; encode them once, and write their statistics to the VAE's config."""
    if not path.exists():
        wan = WholeClipVae(AutoencoderKLWan.from_pretrained(world / "vae").eval())
        sets = {"train": clips.frames_NTHWC, "held_out": held_out.frames_NTHWC}
        share = {name: encode(frames_NTHWC[rank::workers], wan) for name, frames_NTHWC in sets.items()}
        save_checkpoint(path.with_suffix(f".{rank}"), **share)
        wait_for_workers()
        if rank == 0:
            shares = [torch.load(path.with_suffix(f".{r}"), weights_only=True) for r in range(workers)]
            means = {name: interleave([share[name] for share in shares]) for name in sets}
            shift, scale = measure_latents(means["train"], world / "vae" / "config.json")
            save_checkpoint(path, **{name: (mean - shift) / scale for name, mean in means.items()})
        wait_for_workers()
    latents: dict[str, Tensor] = torch.load(path, weights_only=True)
    return latents


def interleave(shares: list[Tensor]) -> Tensor:
    """Merge the workers' shares: clip i is the (i // workers)-th of worker i % workers."""
    whole = shares[0].new_empty(sum(map(len, shares)), *shares[0].shape[1:])
    for rank, share in enumerate(shares):
        whole[rank :: len(shares)] = share
    return whole


def measure_latents(means_NCTHW: Tensor, path: Path) -> tuple[Tensor, Tensor]:
    """Return each channel's mean and standard deviation, and write them to the VAE's config.json."""
    axes = (0, 2, 3, 4)
    config = json.loads(path.read_text())
    config |= {"latents_mean": means_NCTHW.mean(axes).tolist(), "latents_std": means_NCTHW.std(axes).tolist()}
    path.write_text(json.dumps(config, indent=2) + "\n")
    shift, scale = (torch.tensor(config[key]).view(1, -1, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    return shift, scale


def wait_for_workers() -> None:
    if dist.is_initialized():
        dist.barrier()


def embed(prompts: list[str], encoder: TextEncoder) -> Tensor:
    """Return one embedding (N, E) per clip, computed once per prompt."""
    known = {prompt: encoder.embed([prompt])[0] for prompt in dict.fromkeys(prompts)}
    return torch.stack([known[prompt] for prompt in prompts])


def loss_of(model: CosmosTransformer3DModel, z: Tensor, text: Tensor, draws: NoiseDraws) -> Tensor:
    """Return loss_B of some clips, from text before the projection with zeros for dropped prompts."""
    x = apply_conditioning(interpolate(z, draws.noise_BCTHW, draws.sigma_B), z, draws.cond_mask_BT)
    sigma_BT = frame_sigmas(draws.sigma_B, draws.cond_mask_BT, CONDITIONAL_SIGMA)
    text = torch.where(draws.dropped_B[:, None, None], 0.0, text)
    v = forward(model, x, sigma_BT, draws.cond_mask_BT, project_text(model, text))
    return squared_error_per_clip(v, velocity(z, draws.noise_BCTHW), draws.cond_mask_BT)


@torch.no_grad()
def held_out_loss(model: CosmosTransformer3DModel, z: Tensor, text: Tensor) -> float:
    losses = []
    for first in range(0, len(z), 16):
        numbers = list(range(first, min(first + 16, len(z))))
        for quantile in (0.125, 0.375, 0.625, 0.875):
            draws = held_out_draws(z[numbers], "image2world", SHIFT, quantile, numbers)
            losses.append(loss_of(model, z[numbers], text[numbers], draws))
    return torch.cat(losses).mean().item()


def mixed_loss_of(model: CosmosTransformer3DModel, z: Tensor, text: Tensor, draws: NoiseDraws) -> Tensor:
    """Return `loss_of` with matrix products in bfloat16."""
    with torch.autocast("cpu", torch.bfloat16):
        return loss_of(model, z, text, draws)


def draw(z: Tensor, generator: torch.Generator) -> NoiseDraws:
    batch = len(z)
    k_B = torch.multinomial(MODES, batch, replacement=True, generator=generator)
    return NoiseDraws(
        torch.randn(z.shape, generator=generator),
        shifted_logit_normal(torch.randn(batch, generator=generator), SHIFT),
        conditioning_mask(k_B, z.shape[2]),
        torch.rand(batch, generator=generator) < TEXT_DROPOUT,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("world", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--go-on", action="store_true")
    args = parser.parse_args()
    rank, world_size = join_workers()
    args.out.mkdir(parents=True, exist_ok=True)
    clips, held_out = load_clips(args.clips, SHOWN), load_clips(args.clips, HELD_OUT)
    latents = load_latents(clips, held_out, args.world, args.out / "latents.pt", rank, world_size)
    z_train, z_held_out = latents["train"], latents["held_out"]
    encoder = TextEncoder(args.world, torch.device("cpu"), torch.float32)
    text_train, text_held_out = embed(clips.prompts, encoder), embed(held_out.prompts, encoder)

    model = new_denoiser()
    if args.go_on:
        model.load_state_dict(CosmosTransformer3DModel.from_pretrained(args.world / "transformer").state_dict())
    parameters = list(model.parameters())
    matrices, rest = matrices_and_rest(parameters)
    optimizers = [
        Muon(matrices, args.lr, weight_decay=0.03),
        torch.optim.AdamW(rest, args.lr, (0.9, 0.98), weight_decay=0.0, fused=True),
    ]
    ema, step, checkpoint = Ema(model, 0.999), 0, args.out / "denoiser.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        ema.shadow, step = state["ema"], state["step"]
        print(f"resumed at step {step}", flush=True)

    for block in model.transformer_blocks:
        block.attn1.set_processor(Float32Attention())
        block.attn2.set_processor(Float32Attention())
    compiled_loss = torch.compile(mixed_loss_of, dynamic=False)
    started, last, losses = time.time(), time.time(), []
    while step < args.steps:
        generator = torch.Generator().manual_seed(step * world_size + rank)
        lr = args.lr * min(1, (step + 1) / 200) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        index = torch.randint(len(z_train), (BATCH,), generator=generator)
        z = z_train[index]
        loss = compiled_loss(model, z, text_train[index], draw(z, generator)).mean()
        model.zero_grad()
        loss.backward()
        average_gradients(parameters, world_size)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer, rate in zip(optimizers, (MUON_RATE * lr, lr), strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
        step += 1
        ema.update(model, step)
        losses.append(loss.item())
        if rank == 0 and (step % 100 == 0 or step == args.steps):
            rate = (time.time() - last) / len(losses)
            line = f"{step} loss {np.mean(losses):.4f} {rate:.2f} s/step {time.time() - started:.0f} s"
            if step % 500 == 0 or step == args.steps:
                kept = [optimizer.state_dict() for optimizer in optimizers]
                save_checkpoint(checkpoint, model=model.state_dict(), optimizers=kept, ema=ema.shadow, step=step)
                shown = new_denoiser()
                ema.copy_to(shown)
                line += f" held-out loss {held_out_loss(shown, z_held_out, text_held_out):.4f}"
            print(line, flush=True)
            last, losses = time.time(), []


if __name__ == "__main__":
    main()
