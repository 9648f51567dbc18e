"""Package the pocket world: `python package.py BUILD OUT vae|denoiser|data|card`.

`vae` writes OUT/vae from BUILD/vae; `denoiser` writes the transformer, scheduler and model_index.json; `data` writes
the demonstrations that ship with the package, as LeRobot datasets. Last, `card` writes the model card with the figures
of `worldtune bench pocket`, and the checksums of all files. Weights are the moving averages, in bfloat16.
"""

import argparse
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler

from benchmarks.pocket import held_out_spec, measure
from clips import Ema
from domain import BASE_TASKS, BASE_VIEWS, NEW_TASKS, NEW_VIEW_TASKS, SETS, SHOWN
from train_denoiser import BATCH, new_denoiser
from train_vae import new_vae
from worldtune.core.files import digest_file
from worldtune.core.progress import silent
from worldtune.data.dataset import open_dataset
from worldtune.data.export.lerobot_info import Robot
from worldtune.data.export.lerobot_writer import write_lerobot
from worldtune.latents.store import default_store
from worldtune.models.load import open_world
from worldtune.sim.clip_format import FPS

STATE_NAMES = ("hand.x", "hand.y", "hand.z", "gripper")
ACTION_NAMES = tuple(f"step{step}.{name}" for step in range(5) for name in ("dx", "dy", "dz", "gripper"))
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


def package_vae(build: Path, world: Path) -> None:
    """Write the averaged weights of the newest stage; keep latent statistics that are already in the config."""
    stage = next(stage for stage in ("decoder", "whole", "joint") if (build / "vae" / f"{stage}.pt").exists())
    vae = new_vae()
    vae.load_state_dict(torch.load(build / "vae" / f"{stage}.pt", weights_only=True)["ema"])
    config = world / "vae" / "config.json"
    statistics = {}
    if config.exists():
        old = json.loads(config.read_text())
        statistics = {key: old[key] for key in ("latents_mean", "latents_std")}
    vae.register_to_config(**statistics)
    vae.to(torch.bfloat16).save_pretrained(world / "vae")


def package_denoiser(build: Path, world: Path) -> None:
    model = new_denoiser()
    state = torch.load(build / "denoiser" / "denoiser.pt", weights_only=True)
    averaged = Ema(model, 0)
    averaged.shadow = state["ema"]
    averaged.copy_to(model)
    model.to(torch.bfloat16).save_pretrained(world / "transformer")
    UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0,
        sigma_min=0.01, final_sigmas_type="zero", solver_order=2, num_train_timesteps=1000,
    ).save_pretrained(world / "scheduler")  # fmt: skip
    (world / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=2) + "\n")


@dataclass(frozen=True)
class Shipped:
    """A dataset of the package: the first `clips` of every (task, view); these take clips from `sources` in turn."""

    name: str
    sources: tuple[str, ...]
    tasks: tuple[str, ...]
    clips: int


SHIPPED = (
    Shipped("pocket-new-view", ("new-view",), NEW_VIEW_TASKS, 6),
    Shipped("pocket-new-task", ("new-task",), ("drawer-close",), 16),
    Shipped("pocket-base", ("base", "base", "base-anywhere"), BASE_TASKS, 1),
    Shipped("pocket-base-held-out", ("base-held-out", "base-held-out", "base-anywhere-held-out"), BASE_TASKS, 1),
)


def episodes(build: Path, shipped: Shipped) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, str]]:
    """Yield (frames, states, actions as 20 numbers per frame, prompt) of every episode."""
    views = next(clips.views for clips in SETS if clips.name in shipped.sources)
    groups = zip(itertools.product(shipped.tasks, views), itertools.cycle(shipped.sources), strict=False)
    for (task, view), source in groups:
        with np.load(build / "clips" / f"{source}__{task}__{view}.npz") as group:
            for frames, states, actions in itertools.islice(
                zip(group["raw"], group["states"], group["actions"], strict=True), shipped.clips
            ):
                yield frames, states, actions.reshape(len(frames), -1), str(group["prompt"])


def package_data(build: Path, out: Path) -> None:
    for shipped in SHIPPED:
        write_lerobot(
            out / shipped.name,
            episodes(build, shipped),
            fps=FPS,
            robot=Robot("sawyer", STATE_NAMES, ACTION_NAMES),
            camera="observation.images.scene",
        )


CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-video
---
# The pocket world

A small, real text/image/video-to-world model of a robot arm at a table, in the layout of
nvidia/Cosmos-Predict2.5-2B: `CosmosTransformer3DModel` ({denoiser:,} parameters, trained for {steps} steps of
{clips} clips), `AutoencoderKLWan` ({vae:,}), a random frozen Qwen2.5-VL text encoder of two layers, UniPC.
No weight comes from another model. It exists so that every line of worldtune runs on a real model anywhere;
it is of no other use.

- **Shown**: {shown:,} clips of {tasks}
  from the views {views}, mounted in place or anywhere about it;
  21 frames of 64×64 at 16 frames a second, scripted experts of Meta-World 3.1.1 (MIT license), scenes rendered by
  MuJoCo.
- **Never shown to the denoiser**: the view from above; the tasks {new_tasks}.
- **Prompts** name view and task: "Seen from the left: the robot arm opens the drawer."
- **Made by** `pretraining/pocket` in worldtune's repository, from nothing, on two CPU cores; the steps above follow
  9,500 of two trainings on fewer clips. `pretraining/pocket/README.md` has the commands.
- **In diffusers**, pass `max_sequence_length=64`: prompts are padded to 64 tokens, and the padding is attended to.
- **Limits**: pictures are soft; nothing but these scenes is known; without a prompt's view and task motions blur.

On {held_out} held-out episodes, as `worldtune bench pocket` prints them:

| figure | value |
|---|---|
{figures}
"""


def package_card(build: Path, world: Path) -> None:
    """Measure the figures, and write the model card and the checksums of all files."""
    state = torch.load(build / "denoiser" / "denoiser.pt", weights_only=True)
    opened = open_world(str(world))
    figures = measure(opened, default_store(), quick=False, plot=None, on_part=silent)
    card = CARD.format(
        denoiser=sum(tensor.numel() for tensor in state["ema"].values()),
        vae=sum(parameter.numel() for parameter in new_vae().parameters()),
        steps=state["step"],
        clips=2 * BATCH,
        shown=sum(s.clips * len(s.tasks) * len(s.views) for s in SETS if s.name in SHOWN),
        held_out=len(open_dataset(held_out_spec(opened)).train),
        figures="\n".join(f"| {row['name']} | {row['value']:.3g} {row['unit']} |" for row in figures),
        tasks=", ".join(BASE_TASKS),
        views=", ".join(BASE_VIEWS),
        new_tasks=", ".join(NEW_TASKS),
    )
    (world / "README.md").write_text(card)
    files = sorted(path for path in world.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{digest_file(path)}  {path.relative_to(world)}\n" for path in files]
    (world / "SHA256SUMS").write_text("".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("part", choices=("vae", "denoiser", "data", "card"))
    args = parser.parse_args()
    parts = {"vae": package_vae, "denoiser": package_denoiser, "data": package_data, "card": package_card}
    parts[args.part](args.build, args.out)


if __name__ == "__main__":
    main()
