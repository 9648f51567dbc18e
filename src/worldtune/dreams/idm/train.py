"""Train one network of inverse dynamics on examples, some of which passed through the base's codec.

Shape letters: B pairs, C colors, H×W pixels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtune.core.progress import Progress, silent
from worldtune.dreams.idm.encoder import make_network
from worldtune.dreams.idm.examples import Examples, Frames, as_input
from worldtune.dreams.idm.network import InverseDynamicsNetwork, Prediction
from worldtune.dreams.idm.statistics import TargetStatistics
from worldtune.training.idm_settings import IdmSettings

NOISE = 0.05
COLOR_MIX, COLOR_OFFSET, LAST_COLOR = 0.4, 0.3, 0.1  # σ of the random colors at the first step; at the last step
WEIGHT_DECAY = 1e-2


def train_network(
    examples: Examples, statistics: TargetStatistics, settings: IdmSettings, seed: int, progress: Progress = silent
) -> InverseDynamicsNetwork:
    """Return a network trained on random pairs of consecutive frames. The same seed gives the same network.

    `settings.codec_share` of the pairs come from the codec, if the examples have such frames. The random colors of the
    augmentation start strong and get weaker: without them, a network that is trained on few clips relies on their
    colors.
    """
    rng = np.random.default_rng(seed)
    command, displacement, state = (
        torch.from_numpy(part.standardize(values))
        for part, values in (
            (statistics.command, examples.commands_NID),
            (statistics.displacement, examples.displacements_NIS),
            (statistics.state, examples.states_NTS),
        )
    )
    pairs = _Pairs(examples, settings.codec_share, rng)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = make_network(settings.encoder, command.shape[-1], state.shape[-1])
        network.train()
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(trained, settings.lr, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.lr, total_steps=settings.steps)
        for step in range(settings.steps):
            clip, first, x_B2CHW = pairs.draw(settings.batch)
            states_B2S = torch.stack([state[clip, first], state[clip, first + 1]], 1)
            true = Prediction(command[clip, first], displacement[clip, first], states_B2S)
            loss = prediction_loss(network(augment(x_B2CHW, 1 - step / settings.steps)), true)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            progress(step + 1, settings.steps, f"loss {loss.item():.3f}")
    return network.eval()


@dataclass(frozen=True)
class _Pairs:
    """Random pairs of consecutive frames."""

    examples: Examples
    codec_share: float
    rng: np.random.Generator

    def draw(self, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Tensor]:
        """Return the clips, their first frames, and the pairs x_B2CHW in [−1, 1]."""
        clips, frames = self.examples.frames_NTCHW.shape[:2]
        clip, first = self.rng.integers(clips, size=count), self.rng.integers(frames - 1, size=count)
        x_B2CHW = _take(self.examples.frames_NTCHW, clip, first)
        if self.examples.codec_NTCHW is not None:
            coded = np.flatnonzero(self.rng.random(count) < self.codec_share)
            x_B2CHW[coded] = _take(self.examples.codec_NTCHW, clip[coded], first[coded])
        return clip, first, as_input(x_B2CHW)


def _take(frames_NTCHW: Frames, clip: npt.NDArray[np.int64], first: npt.NDArray[np.int64]) -> Frames:
    return np.stack([frames_NTCHW[clip, first], frames_NTCHW[clip, first + 1]], 1)


def prediction_loss(predicted: Prediction, true: Prediction) -> Tensor:
    """Return the sum of the targets' mean Huber losses, of those that have numbers."""
    losses = [F.smooth_l1_loss(p, t) for p, t in zip(predicted, true, strict=True) if t.numel()]
    return torch.stack(losses).sum()


def augment(x_B2CHW: Tensor, strength: float) -> Tensor:
    """Return the pairs with randomly mixed colors, equal in both frames, and noise. `strength` falls from 1 to 0."""
    B, C = len(x_B2CHW), x_B2CHW.shape[2]
    mix_BCC = torch.eye(C) + _sigma(COLOR_MIX, strength) * torch.randn(B, C, C)
    offset_B1C11 = _sigma(COLOR_OFFSET, strength) * torch.randn(B, 1, C, 1, 1)
    mixed = torch.einsum("bij,bfjhw->bfihw", mix_BCC, x_B2CHW)
    return mixed + offset_B1C11 + NOISE * torch.randn_like(x_B2CHW)


def _sigma(first: float, strength: float) -> float:
    return LAST_COLOR + (first - LAST_COLOR) * strength
