"""An inverse dynamics model and adapters for pocket without training: random networks, a little noise."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from support.adapters import make_card
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.actions.space import ActionSpace
from worldtune.data.clip import Clip
from worldtune.dreams.idm.card import IdmCard
from worldtune.dreams.idm.encoder import make_network
from worldtune.dreams.idm.model import InverseDynamics, save_idm
from worldtune.dreams.idm.statistics import Standardization, TargetStatistics
from worldtune.models.world import World

SPACE = ActionSpace(kind="delta", commands_per_frame=5, state_columns=(0, 1, 2, None))
SPEC = AdapterSpec(method="lora", rank=2)


def make_idm(folder: Path, world: World, clips: Sequence[Clip], names: Sequence[str]) -> InverseDynamics:
    """Write an IDM with two random networks and the statistics of these clips."""
    states = np.stack([clip.states for clip in clips if clip.states is not None])
    actions = np.stack([SPACE.mean_command(clip.actions) for clip in clips if clip.actions is not None])
    statistics = TargetStatistics(
        command=Standardization.of(actions),
        displacement=Standardization.of(np.diff(states, axis=1)),
        state=Standardization.of(states),
    )
    first = clips[0]
    assert first.actions is not None
    card = IdmCard(
        name="random", base="pocket", base_digest=world.card.digest, codec_digest=world.card.codec_digest,
        action_space=SPACE, action_size=first.actions.shape[1], action_holds="commands", state_names=tuple(names),
        cameras=(first.camera,), tasks=(first.task,), frames=len(first.frame_indices), fps=first.fps,
        height=first.height, width=first.width, fit=first.fit, encoder="small", encoder_digest=None, side=32,
        members=2, statistics=statistics, sigma_ratio=3.0, gain=(0.01, 0.01, 0.01, 0.0), held_out=None,
        weights_digest="", lineage={},
    )  # fmt: skip
    networks = []
    for seed in range(2):
        torch.manual_seed(seed)
        networks.append(make_network("small", 4, len(names)).eval())
    return save_idm(folder, networks, card)


def make_adapter(folder: Path, world: World, seed: int, strength: float) -> Path:
    """Write a LoRA of pocket with random weights; at a strength of 0.02 it changes the videos a little."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in inject(world.denoiser, SPEC, seed=seed).values():
            parameter.add_(strength * torch.randn(parameter.shape, generator=generator))
    size = {"frames": 21, "fps": 16.0, "height": 64, "width": 64}
    save_adapter(folder, world.denoiser, make_card(SPEC, world.card.digest).model_copy(update=size))
    remove_adapter(world.denoiser)
    return folder
