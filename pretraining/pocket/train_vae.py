"""Train the pocket world's VAE: `torchrun --nproc-per-node 2 train_vae.py CLIPS OUT joint|whole|decoder --steps N`.

`joint` trains encoder and decoder on 1, then 5, 9 and 21 frames. `whole` alternates short windows of many clips, which
sharpen frames, and whole clips, without which late frames fade. `decoder` does the same with a frozen encoder, so that
the denoiser's latents do not change. Each stage starts from the averaged weights of the stage before, or of the
packaged WORLD of `--begin-with`, and resumes from OUT/STAGE.pt.
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from clips import Clips, Ema, as_video, average_gradients, join_workers, load_clips, psnr, save_checkpoint
from domain import HELD_OUT, SHOWN, VAE_ONLY
from muon import Muon, matrices_and_rest
from worldtune.models.vae.full_clip import WholeClipVae, zero_past_taps

WINDOWS = ((0.15, 1, 9), (0.4, 5, 2), (0.75, 9, 1), (1.0, 21, 1))  # frames and clips up to a share of the steps
BEFORE = {"whole": "joint", "decoder": "whole"}
VAE_ONLY_SHARE = 0.25
LATENT_NOISE = 0.05
LATENT_PENALTY = 3e-4


def new_vae() -> AutoencoderKLWan:
    torch.manual_seed(0)
    vae = AutoencoderKLWan(
        base_dim=16, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1, temperal_downsample=[False, True, True]
    )
    zero_past_taps(vae)
    with torch.no_grad():  # the posterior's log variance is constant, because training uses its mean
        vae.quant_conv.weight[16:] = 0
        vae.quant_conv.bias[16:] = 2 * math.log(LATENT_NOISE)
    return vae


def draw(shown: Clips, vae_only: Clips, rng: np.random.Generator, frames: int, count: int) -> tuple[Tensor, Tensor]:
    """Return `count` windows (B,3,T,H,W) and weights (B,1,T,H,W): up to 3 for pixels far from their clip's mean."""
    videos, weights = [], []
    for _ in range(count):
        clips = vae_only if rng.random() < VAE_ONLY_SHARE else shown
        i = rng.integers(len(clips))
        start = rng.integers(clips.frames_NTHWC.shape[1] - frames + 1)
        whole = clips.frames_NTHWC[i].astype(np.float32)
        window = whole[start : start + frames]
        moved = np.abs(window - whole.mean(0)).mean(-1) / 127.5
        videos.append(clips.frames_NTHWC[i, start : start + frames])
        weights.append(1 + 2 * np.clip(moved / 0.25, 0, 1))
    return as_video(np.stack(videos)), torch.from_numpy(np.stack(weights)).float()[:, None]


def window_of(stage: str, step: int, steps: int) -> tuple[int, int]:
    """Return the frames and clips of a worker's step."""
    if stage != "joint":
        return ((5, 4), (21, 1))[step % 2]
    return next((frames, clips) for until, frames, clips in WINDOWS if step / steps < until)


def reconstruct(wan: WholeClipVae, x: Tensor, frozen_encoder: bool) -> tuple[Tensor, Tensor]:
    """Return frames and latent means; convolutions run in bfloat16, in two thirds of float32's time."""
    with torch.autocast("cpu", torch.bfloat16):
        with torch.set_grad_enabled(not frozen_encoder):
            mean = wan.encode(x)[:, :16]
        return wan.decode_unclamped(mean + LATENT_NOISE * torch.randn_like(mean)).float(), mean.float()


@torch.no_grad()
def held_out_psnr(vae: AutoencoderKLWan, clips: Clips) -> float:
    wan = WholeClipVae(vae)
    scores = []
    for i in range(0, len(clips), 5):
        x = as_video(clips.frames_NTHWC[i : i + 1])
        scores.append(psnr(wan.decode(wan.encode(x)[:, :16]), x))
    return torch.cat(scores).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("stage", choices=("joint", "whole", "decoder"))
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--begin-with", type=Path, metavar="WORLD")
    args = parser.parse_args()
    rank, world = join_workers()
    args.out.mkdir(parents=True, exist_ok=True)
    shown, vae_only, held_out = (load_clips(args.clips, sets) for sets in (SHOWN, VAE_ONLY, HELD_OUT))

    vae = new_vae()
    checkpoint = args.out / f"{args.stage}.pt"
    if args.begin_with:
        vae.load_state_dict(AutoencoderKLWan.from_pretrained(args.begin_with / "vae").state_dict())
    elif args.stage in BEFORE:
        vae.load_state_dict(torch.load(args.out / f"{BEFORE[args.stage]}.pt", weights_only=True)["ema"])
    wan = WholeClipVae(vae)
    run = torch.compile(reconstruct, dynamic=False)
    trained = [vae.decoder, vae.post_quant_conv] if args.stage == "decoder" else [vae]
    vae.requires_grad_(False)
    parameters = [p.requires_grad_() for module in trained for p in module.parameters()]
    matrices, rest = matrices_and_rest(parameters)
    optimizers = [Muon(matrices, args.lr), torch.optim.AdamW(rest, args.lr, (0.9, 0.99), weight_decay=0.0, fused=True)]
    ema, step = Ema(vae, 0.999), 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        vae.load_state_dict(state["vae"])
        for optimizer, kept in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        ema.shadow, step = state["ema"], state["step"]
        print(f"resumed {args.stage} at step {step}", flush=True)

    started, last = time.time(), time.time()
    while step < args.steps:
        rng = np.random.default_rng([step, rank])
        torch.manual_seed(step * world + rank)
        lr = args.lr * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / args.steps))
        frames, count = window_of(args.stage, step, args.steps)
        x, weight = draw(shown, vae_only, rng, frames, count)
        y, mean = run(wan, x, args.stage == "decoder")
        error = y - x
        loss = (weight * (0.25 * error.abs() + 3 * error.square())).mean() + LATENT_PENALTY * mean.square().mean()
        vae.zero_grad()
        loss.backward()
        average_gradients(parameters, world)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = lr
            optimizer.step()
        step += 1
        ema.update(vae, step)
        if rank == 0 and (step % 50 == 0 or step == args.steps):
            rate = (time.time() - last) / 50
            line = f"{args.stage} {step} loss {loss.item():.4f} {rate:.2f} s/step {time.time() - started:.0f} s"
            if step % 500 == 0 or step == args.steps:
                kept = [optimizer.state_dict() for optimizer in optimizers]
                save_checkpoint(checkpoint, vae=vae.state_dict(), optimizers=kept, ema=ema.shadow, step=step)
                averaged = new_vae()
                ema.copy_to(averaged)
                line += f" held-out PSNR {held_out_psnr(averaged, held_out):.2f} dB"
            print(line, flush=True)
            last = time.time()


if __name__ == "__main__":
    main()
