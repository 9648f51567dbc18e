"""Train every weight of the denoiser on the demo's new view, as a reference for the adapters of `worldtune demo`.

    python full_finetune.py FOLDER [--lr 2e-4 5e-4 1e-3 2e-3 4e-3 8e-3]

Clips, steps, draws and validations are those of the recipe `pocket-new-view`. The weights with the least held-out loss,
over all learning rates and validations, make the demo's videos. Their loss and PSNR gain over the base are written into
the package. FOLDER holds a checkpoint of the last validation, from which a restarted script continues.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from clips import save_checkpoint
from worldtune.cli.demo_goals import CLIPS, FULL_FINE_TUNING, STEPS
from worldtune.core.files import write_json
from worldtune.data.splits.spread import spread
from worldtune.evaluation.cases.case import video_from_frames
from worldtune.evaluation.cases.clip_cases import generate_image2world, make_cases
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.latents.store import default_store
from worldtune.models.load import open_world
from worldtune.models.world import World
from worldtune.training.data.batches import Batches
from worldtune.training.data.encode_datasets import TrainingData, prepare_data
from worldtune.training.flow_matching_loss import loss_per_clip
from worldtune.training.loop import learning_rate
from worldtune.training.recipe import Recipe, find_recipe
from worldtune.training.validation.held_out_loss import measure_held_out

State = dict[str, Any]


def main() -> None:
    """Train at each learning rate, compare the best weights with the base, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lr", type=float, nargs="+", default=[2e-4, 5e-4, 1e-3, 2e-3, 4e-3, 8e-3])
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    recipe = find_recipe("pocket-new-view", [])
    world, plan = open_world(recipe.base), SamplingPlan(steps=STEPS)
    data = prepare_data(world, recipe, default_store())
    clips = data.held_out[:CLIPS]
    base_loss, base_videos = held_out_loss(world, recipe, data), generate_image2world(world, clips, plan)
    untrained = {name: weight.clone() for name, weight in world.denoiser.state_dict().items()}

    states = {}
    for lr in args.lr:
        world.denoiser.load_state_dict(untrained)
        states[lr] = train(world, recipe, data, lr, args.folder / f"{lr}.pt")
    lr = min(states, key=lambda lr: states[lr]["loss"])
    best = states[lr]
    world.denoiser.load_state_dict(best["weights"])
    videos = {
        "base": {name: [video_from_frames(frames_THWC)] for name, frames_THWC in base_videos.items()},
        "full": {
            name: [video_from_frames(frames_THWC)]
            for name, frames_THWC in generate_image2world(world, clips, plan).items()
        },
    }
    gain = compare(make_cases(clips, "held out"), videos).gain("full").mean
    write_json(
        FULL_FINE_TUNING,
        {
            "base": world.card.digest,
            "recipe": recipe.name,
            "lr": lr,
            "step": best["best_step"],
            "held_out_loss": {"base": base_loss, "full fine-tuning": best["loss"]},
            "psnr_gain_db": gain,
            "plan": {"steps": STEPS, "clips": CLIPS},
            "held_out_loss_by_lr": {str(lr): state["loss"] for lr, state in states.items()},
        },
    )
    print(FULL_FINE_TUNING.read_text())


def train(world: World, recipe: Recipe, data: TrainingData, lr: float, path: Path) -> State:
    """Return the weights of the best validation, their step and their held-out loss."""
    settings = recipe.train
    parameters = [p.requires_grad_() for p in world.denoiser.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=settings.weight_decay)
    state: State = {"step": 0, "loss": float("inf")}
    if path.exists():
        state = torch.load(path, weights_only=True)
        world.denoiser.load_state_dict(state["newest"])
        optimizer.load_state_dict(state["optimizer"])
    with Batches(data, recipe, world.card.shift(settings.shift), range(settings.batch)) as batches:
        for step in range(state["step"], settings.steps):
            (batch,) = batches.of(step)
            loss = loss_per_clip(world, batch.z_BCTHW, batch.text_BND, batch.draws).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip_grad)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, step) * lr
            optimizer.step()
            if (step + 1) % recipe.check.every == 0:
                weights = {name: weight.clone() for name, weight in world.denoiser.state_dict().items()}
                found = held_out_loss(world, recipe, data)
                print(f"lr {lr:g} step {step + 1} held-out loss {found:.4f}", flush=True)
                state |= {"step": step + 1, "newest": weights, "optimizer": optimizer.state_dict()}
                if found < state["loss"]:
                    state |= {"loss": found, "best_step": step + 1, "weights": weights}
                save_checkpoint(path, **state)
    world.denoiser.requires_grad_(False)
    return state


def held_out_loss(world: World, recipe: Recipe, data: TrainingData) -> float:
    """Return the mean loss, measured as in a training run of this recipe."""
    check, shift = recipe.check, world.card.shift(recipe.train.shift)
    clips = spread(data.held_out, check.clips)
    return measure_held_out(world, clips, check.modes, check.sigmas, shift, recipe.train.batch).mean


if __name__ == "__main__":
    main()
