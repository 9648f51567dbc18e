"""The quality figures of the pocket world, on held-out episodes of its base domain.

Shapes: B clips, T frames, H×W pixels, C channels, N text tokens, D text width.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldtune.core.progress import Progress
from worldtune.data.clip import read_clip
from worldtune.data.dataset import open_dataset
from worldtune.data.spec import DataSpec
from worldtune.evaluation.cases.case import video_from_frames
from worldtune.evaluation.cases.clip_cases import generate_image2world, make_cases
from worldtune.evaluation.comparison.compare import compare
from worldtune.evaluation.metrics.fidelity import mse_by_frame, psnr_from_mse
from worldtune.evaluation.report.contact_sheet import write_contact_sheet
from worldtune.evaluation.report.figures import figure
from worldtune.evaluation.results import FROZEN
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.latents.dataset import LatentClip
from worldtune.latents.encode import encode_clips, encode_no_text, encode_prompts
from worldtune.latents.store import LatentStore
from worldtune.models.world import World
from worldtune.training.validation.held_out_loss import held_out_losses

SHIFT, SIGMAS, BATCH = 5.0, 4, 8
STEPS = 12
CODEC_GOALS = {64: 30.0, 96: 29.0}  # dB, by the height of frames


def held_out_spec(world: World) -> DataSpec:
    """Return the spec of the base domain's held-out episodes, which ship with the package."""
    card = world.card
    return DataSpec(
        path="builtin:pocket-base-held-out", frames=card.frames, fps=card.fps, height=card.height, width=card.width
    )


def measure(
    world: World, store: LatentStore, *, quick: bool, plot: Path | None, on_part: Progress
) -> list[dict[str, Any]]:
    """Measure the codec, image2world and text figures; `quick` takes every tenth clip and two steps."""
    spec = held_out_spec(world)
    clips = encode_clips(world, open_dataset(spec).train[:: 10 if quick else 1], store)
    cases = make_cases(clips, "base domain, held out")
    videos = generate_image2world(world, clips, SamplingPlan(steps=2 if quick else STEPS), on_part)
    comparison = compare(cases, {"base": {name: [video_from_frames(video)] for name, video in videos.items()}})
    result = comparison.headline.results["base"]
    losses = text_losses(world, clips, store)
    if plot:
        write_prompt_sheet(world, clips, store, plot / "pocket-prompts.png")
    size = f"{world.card.height}×{world.card.width}"
    return [
        figure(f"VAE PSNR at {size}", codec_psnr(world, clips), "dB", "higher", CODEC_GOALS.get(world.card.height)),
        figure("image2world PSNR", result.means["psnr_db"].mean, "dB", "higher", 26.0),
        figure("image2world moving-region PSNR", result.means["moving_psnr_db"].mean, "dB", "higher", 18.5),
        figure(
            "image2world over frozen first frame", comparison.gain("base", against=FROZEN).mean, "dB", "higher", 5.0
        ),
        figure("held-out loss, right prompt", losses["right"], "", "lower"),
        figure("held-out loss, no prompt", losses["none"], "", "lower"),
        figure("held-out loss, wrong prompt", losses["wrong"], "", "lower"),
        figure("no prompt over right prompt", losses["none"] / losses["right"], "×", "higher", 1.0),
        figure("wrong prompt over no prompt", losses["wrong"] / losses["none"], "×", "higher", 1.0),
    ]


def codec_psnr(world: World, clips: Sequence[LatentClip]) -> float:
    """Return the mean PSNR in dB of whole clips after encoding and decoding."""
    scores = []
    for clip in clips:
        frames_THWC = read_clip(clip.clip)
        back_THWC = world.decode(world.encode(torch.from_numpy(frames_THWC)[None]))[0].numpy()
        scores.append(psnr_from_mse(float(mse_by_frame(back_THWC, frames_THWC).mean())))
    return float(np.mean(scores))


def text_losses(world: World, clips: Sequence[LatentClip], store: LatentStore) -> dict[str, float]:
    """Return the held-out loss with the right prompt, no prompt, and another task's prompt."""
    no_text = encode_no_text(world, store)
    prompts = {
        "right": list(clips),
        "none": [replace(clip, text=no_text) for clip in clips],
        "wrong": [replace(clip, text=encode_prompts(world, [other_prompt(clip, clips)], store)[0]) for clip in clips],
    }
    return {
        name: float(np.mean(held_out_losses(world, chosen, "image2world", SIGMAS, SHIFT, BATCH)))
        for name, chosen in prompts.items()
    }


def other_prompt(clip: LatentClip, clips: Sequence[LatentClip]) -> str:
    """Return the prompt of the next clip with another task, with this clip's view."""
    index = list(clips).index(clip)
    rotated = [*clips[index + 1 :], *clips[:index]]
    view, _, task = clip.clip.caption.partition(":")
    others = [other.clip.caption.partition(":")[2] for other in rotated]
    return f"{view}:{next(other for other in others if other != task)}"


def write_prompt_sheet(world: World, clips: Sequence[LatentClip], store: LatentStore, path: Path) -> None:
    """Write a contact sheet of one first frame with three prompts."""
    clip = clips[0]
    tasks = list(dict.fromkeys(other.clip.caption.partition(":")[2] for other in clips))[:3]
    view = clip.clip.caption.partition(":")[0]
    candidates = {}
    for task in tasks:
        prompted = replace(clip, text=encode_prompts(world, [f"{view}:{task}"], store)[0])
        label = task.strip().removeprefix("the robot arm ").rstrip(".")
        (generated,) = generate_image2world(world, [prompted], SamplingPlan(steps=STEPS)).values()
        candidates[label] = {clip.clip.name: [video_from_frames(generated)]}
    write_contact_sheet(path, make_cases([clip], "prompts"), candidates, columns=list(candidates))
