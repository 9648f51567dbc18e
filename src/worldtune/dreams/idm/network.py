"""The network of inverse dynamics: keypoints of each frame, and small maps from them to actions and states.

Each frame is reduced to the expected position and the strength of K features (spatial soft-argmax, Levine et al. 2016,
arXiv:1504.00702, §5.1). Two consecutive frames give the command and the displacement of the states between them, one
frame gives the states. Coarse features are intended: fine ones read true video better and generated video worse.

Shape letters: B pairs, C colors, H×W pixels, F feature channels, N positions, K keypoints, E keypoint numbers,
D numbers of a command, S numbers of a state.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

KEYPOINTS, WIDTH, HIDDEN = 32, 32, 128


class Prediction(NamedTuple):
    """Standardized targets: the command and the states' displacement between two frames, the states of both frames.

    `states` is (B, 2, S). Without states, S is 0.
    """

    command_BD: Tensor
    displacement_BS: Tensor
    states_B2S: Tensor


class SmallEncoder(nn.Sequential):
    """Convolutions from images (B, 3, H, W) to features (B, F, H/4, W/4)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, WIDTH, 8, stride=4, padding=2), nn.GroupNorm(4, WIDTH), nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.GroupNorm(4, WIDTH), nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.GroupNorm(4, WIDTH), nn.SiLU(),
        )  # fmt: skip
        self.channels = WIDTH


class InverseDynamicsNetwork(nn.Module):
    """Encoder, keypoints, and one map for each target."""

    def __init__(self, encoder: nn.Module, channels: int, commands: int, states: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.keypoints = nn.Sequential(nn.Conv2d(channels, KEYPOINTS, 1), nn.GroupNorm(KEYPOINTS, KEYPOINTS))
        self.between = _perceptron(9 * KEYPOINTS, commands + states)
        self.at_frame = _perceptron(3 * KEYPOINTS, states)
        self._commands = commands

    def forward(self, pairs_B2CHW: Tensor) -> Prediction:
        """Return the prediction for pairs of consecutive frames, in [−1, 1]."""
        return self.read_pairs(self.read_keypoints(pairs_B2CHW.flatten(0, 1)).unflatten(0, (-1, 2)))

    def read_pairs(self, e_B2E: Tensor) -> Prediction:
        """Return the prediction from the keypoints of both frames."""
        between = self.between(torch.cat([e_B2E[:, 0], e_B2E[:, 1], 4 * (e_B2E[:, 1] - e_B2E[:, 0])], -1))
        return Prediction(between[:, : self._commands], between[:, self._commands :], self.at_frame(e_B2E))

    def read_keypoints(self, x_BCHW: Tensor) -> Tensor:
        """Return e_BE: x and y in [−1, 1] of each keypoint, then the strength of each."""
        maps_BKHW = self.keypoints(self.encoder(x_BCHW))
        H, W = maps_BKHW.shape[2:]
        maps_BKN = maps_BKHW.flatten(2)
        y, x = torch.meshgrid(torch.linspace(-1, 1, H), torch.linspace(-1, 1, W), indexing="ij")
        position_N2 = torch.stack([x.flatten(), y.flatten()], -1).to(maps_BKN)
        strength_BK = maps_BKN.amax(-1) - maps_BKN.mean(-1)
        return torch.cat([(maps_BKN.softmax(-1) @ position_N2).flatten(1), torch.tanh(strength_BK / 4)], -1)


def _perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, outputs))
