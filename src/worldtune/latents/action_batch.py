"""The actions of clips as inputs of a denoiser.

Shapes: B clips, J latent frames, I inputs of a latent frame.
"""

from collections.abc import Sequence

import torch

from worldtune.core.actions.form import ActionForm
from worldtune.data.clip import Clip
from worldtune.diffusion.action_embedder import ActionInputs
from worldtune.errors import DataError
from worldtune.latents.dataset import LatentClip


def clip_actions(form: ActionForm | None, clips: Sequence[LatentClip], latents: int) -> ActionInputs | None:
    """Return the inputs of some clips of `latents` latent frames; None if the denoiser has no `form`, or no clip
    has actions.

    A clip without actions gets none. Raise DataError if a clip's actions do not fit the form.
    """
    if form is None or all(latent.clip.actions is None for latent in clips):
        return None
    inputs_BJI = torch.zeros(len(clips), latents, form.inputs)
    given_BJ = torch.zeros(len(clips), latents)
    for number, latent in enumerate(clips):
        clip = latent.clip
        if clip.actions is None:
            continue
        state_S = None if clip.states is None or not form.state_size else clip.states[0]
        form.check(clip.actions, state_S, len(clip.frame_indices), clip.name)
        inputs_BJI[number] = torch.from_numpy(form.encode(clip.actions, state_S, latents))
        given_BJ[number, 1:] = 1.0
    return ActionInputs(inputs_BJI, given_BJ)


def check_consecutive(clip: Clip) -> None:
    """Raise DataError unless the clip shows every frame of its recording: its actions would not fit its motion."""
    first = clip.frame_indices[0]
    if clip.frame_indices != tuple(range(first, first + len(clip.frame_indices))):
        what = f"clip {clip.name} skips or repeats recorded frames, so its actions do not lead from frame to frame"
        hint = "Set data.fps to the recording's rate, or resample the dataset to the base's rate first."
        raise DataError(what, where=clip.source, hint=hint)
