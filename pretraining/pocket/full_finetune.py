"""How much of full fine-tuning's gain does a LoRA reach? `python full_finetune.py RUN [--lr 5e-4]`.

Trains every weight of the denoiser on the clips, steps and draws of the finished LoRA run RUN, evaluates base,
LoRA and the fine-tuned model on the same held-out clips, and prints the shares as JSON.
"""

import argparse
import json
from pathlib import Path

import torch

from worldtune.bench.machine import machine
from worldtune.evaluation.case import held
from worldtune.evaluation.compare import compare
from worldtune.evaluation.generated import Maker, candidates_of
from worldtune.evaluation.kept_films import KeptFilms
from worldtune.evaluation.runs import read_runs
from worldtune.evaluation.suite import SamplingPlan, cases_of, image2world
from worldtune.files import cache_folder
from worldtune.training.batches import Batches
from worldtune.training.data import default_store, prepare_data
from worldtune.training.held_out import held_out_losses
from worldtune.training.loop import learning_rate
from worldtune.training.objective import loss_per_clip
from worldtune.worlds.load import open_world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--lr", type=float, default=5e-4)
    args = parser.parse_args()
    (run,) = read_runs({"LoRA": args.run})
    recipe, settings = run.recipe, run.recipe.train
    world, plan = open_world(recipe.base), SamplingPlan()
    data = prepare_data(world, recipe, default_store())
    maker = Maker(plan, KeptFilms(cache_folder() / "films"))
    videos = candidates_of(world, {"LoRA": run.folder.adapter}, data.held_out, maker)

    parameters = [p.requires_grad_() for p in world.denoiser.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=args.lr, weight_decay=settings.weight_decay)
    batches = Batches(data, recipe, settings.shift, range(settings.batch))
    for step in range(settings.steps):
        (part,) = batches.of(step)
        loss = loss_per_clip(world, part.z_BCTHW, part.text_BND, part.draws).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.clip_grad)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step) * args.lr
        optimizer.step()
        if step % 50 == 0:
            print(f"{step} loss {loss.item():.4f}", flush=True)
    world.denoiser.requires_grad_(False)

    check = recipe.check
    losses = held_out_losses(world, data.held_out, check.modes[0], check.sigmas, settings.shift, settings.batch)
    made = image2world(world, data.held_out, plan)
    videos["full fine-tuning"] = {name: [held(frames_THWC)] for name, frames_THWC in made.items()}
    comparison = compare(cases_of(data.held_out, "held out"), videos)
    gains = {name: comparison.gain(name).mean for name in ("LoRA", "full fine-tuning")}
    full = sum(losses) / len(losses)
    base, lora = run.first("held_out_loss"), run.last("held_out_loss")
    assert base is not None
    assert lora is not None
    assert gains["LoRA"]
    assert gains["full fine-tuning"]
    print(
        json.dumps(
            {
                "held_out_loss": {"base": base, "LoRA": lora, "full fine-tuning": full},
                "psnr_gain_db": gains,
                "share of the loss gain": (base - lora) / (base - full),
                "share of the PSNR gain": gains["LoRA"] / gains["full fine-tuning"],
                "machine": machine(),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
