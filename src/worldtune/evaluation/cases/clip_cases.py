"""Turn held-out clips into cases, and generate videos from their first frames and prompts.

Shapes: B clips, C latent channels, T latent frames (frames_THWC: pictures), H×W pixels.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from worldtune.adapters.actions import form_of, owns_embedders
from worldtune.core.progress import Progress, silent
from worldtune.core.seeds import derive_seed
from worldtune.data.clip import Clip, content_digest, read_clip
from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.errors import DataError
from worldtune.evaluation.cases.case import Case, Frames, Video
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.generation.sampler import Guidance, sample
from worldtune.latents.action_batch import clip_actions
from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.models.world import World

BATCH = 8
BATCHED_LATENTS = 1_000_000  # largest B·C·T·H·W of a batch: fewer large clips are generated at once


def recorded_video(clip: Clip) -> Video:
    """Return the recorded video of a clip."""
    return Video(lambda: read_clip(clip), content_digest(clip), f"clip {clip.name}")


def make_cases(clips: Sequence[LatentClip], domain: str, columns: Sequence[int] = ()) -> list[Case]:
    """Return the cases of held-out clips; `columns` are the state columns of the gripper position."""
    return [
        Case(
            name=clip.clip.name,
            episode=clip.clip.episode,
            task=clip.clip.task,
            camera=clip.clip.camera,
            prompt=clip.clip.caption,
            reference=recorded_video(clip.clip),
            domain=domain,
            path_TD=clip.clip.states[:, list(columns)] if columns and clip.clip.states is not None else None,
        )
        for clip in clips
    ]


def generate_image2world(
    world: World,
    clips: Sequence[LatentClip],
    plan: SamplingPlan,
    progress: Progress = silent,
) -> dict[str, Frames]:
    """Return a video for each clip by name, generated from its first frame and prompt with the plan's first seed."""
    videos: dict[str, Frames] = {}
    for clip, frames_THWC in generate_videos(world, clips, plan, plan.seeds[0]):
        videos[clip.clip.name] = frames_THWC
        progress(len(videos), len(clips), clip.clip.name)
    return videos


def generate_videos(
    world: World, clips: Sequence[LatentClip], plan: SamplingPlan, seed: int
) -> Iterator[tuple[LatentClip, Frames]]:
    """Yield each clip with its generated video, uint8 frames_THWC. Several clips are generated at once.

    A clip's noise depends on the seed and the clip's content, so that every candidate starts from the same noise. A
    model that reads actions gets those of the clip.
    Raise DataError if a video contains NaN or infinity.
    """
    batch = min(BATCH, max(1, BATCHED_LATENTS // load_batch(list(clips[:1]))[0].numel())) if clips else BATCH
    for first in range(0, len(clips), batch):
        batch_clips = list(clips[first : first + batch])
        z_BCTHW, text_BND = (loaded.to(world.device) for loaded in load_batch(batch_clips))
        generators = [
            torch.Generator().manual_seed(derive_seed(seed, content_digest(clip.clip))) for clip in batch_clips
        ]
        noise = [torch.randn(z.shape, generator=generator) for z, generator in zip(z_BCTHW, generators, strict=True)]
        noise_BCTHW = torch.stack(noise).to(world.device)
        cond_mask_BT = conditioning_mask(torch.ones(len(batch_clips), device=world.device), z_BCTHW.shape[2])
        actions = clip_actions(form_of(world.denoiser), batch_clips, z_BCTHW.shape[2])
        actions = actions and actions.to(world.device)
        action_guidance = 0.0 if owns_embedders(world.denoiser) else plan.action_guidance
        negative_BND = torch.zeros_like(text_BND) if plan.guidance == 0 else world.no_text().expand_as(text_BND)
        generated_BCTHW = sample(
            world,
            Guidance(text_BND, negative_BND, plan.guidance, actions, action_guidance),
            noise_BCTHW,
            z_BCTHW,
            cond_mask_BT,
            steps=plan.steps,
        )
        for clip, z_CTHW in zip(batch_clips, generated_BCTHW, strict=True):
            if not z_CTHW.isfinite().all():
                what = "the generated video contains NaN or infinity"
                raise DataError(what, where=f"clip {clip.clip.name}", hint="Train again: these weights are unusable.")
        yield from zip(batch_clips, np.asarray(world.decode(generated_BCTHW).cpu()), strict=True)
