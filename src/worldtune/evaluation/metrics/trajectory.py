"""A reader of the gripper's path: a small network trained on the dataset's own frames and states.

Shape letters: T frames, H height, W width, C channels, N clips, D coordinates, K keypoints, B batch.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.evaluation.cases.case import Frames, Track

SIDE, KEYPOINTS, WIDTH = 64, 24, 32
STEPS, BATCH, LEARNING_RATE = 200, 32, 3e-3
COLOR_MIX, COLOR_OFFSET, LAST_COLOR = 0.4, 0.3, 0.1  # σ of the color augmentation at the first step; at the last step


class GripperReader(nn.Module):
    """Convolutions, the expected position of each of K features (Levine et al. 2016, §5.1), and a small map to D."""

    mean_D: Tensor
    spread_D: Tensor

    def __init__(self, mean_D: Tensor, spread_D: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_D", mean_D)
        self.register_buffer("spread_D", spread_D)
        self.features = nn.Sequential(
            nn.Conv2d(3, WIDTH, 5, stride=2, padding=2), nn.GroupNorm(4, WIDTH), nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 5, padding=2), nn.GroupNorm(4, WIDTH), nn.SiLU(),
            nn.Conv2d(WIDTH, KEYPOINTS, 5, padding=2), nn.GroupNorm(KEYPOINTS, KEYPOINTS),
        )  # fmt: skip
        self.out = nn.Sequential(nn.Linear(3 * KEYPOINTS, 64), nn.SiLU(), nn.Linear(64, len(mean_D)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Return coordinates (B, D), normalized by the mean and standard deviation of the training paths."""
        maps_BKHW = self.features(x_BCHW)
        H, W = maps_BKHW.shape[2:]
        weight_BKN = maps_BKHW.flatten(2).softmax(-1)
        y, x = torch.meshgrid(torch.linspace(-1, 1, H), torch.linspace(-1, 1, W), indexing="ij")
        position_N2 = torch.stack([x.flatten(), y.flatten()], -1)
        peak_BK = maps_BKHW.flatten(2).amax(-1) - maps_BKHW.flatten(2).mean(-1)
        return self.out(torch.cat([(weight_BKN @ position_N2).flatten(1), torch.tanh(peak_BK / 4)], -1))

    def as_vector(self) -> Tensor:
        """Return all parameters and buffers as one vector."""
        return torch.cat([tensor.flatten() for tensor in self.state_dict().values()])

    def load_vector(self, vector: Tensor) -> None:
        """Load the result of `as_vector`. Raise RuntimeError if its length is not that of this reader."""
        state = self.state_dict()
        parts = vector.split([tensor.numel() for tensor in state.values()])
        self.load_state_dict({name: part.view_as(state[name]) for name, part in zip(state, parts, strict=True)})

    @torch.inference_mode()
    def read(self, frames_THWC: Frames) -> Track:
        """Return the path (T, D) in a video."""
        path_TD = self(preprocess(frames_THWC)) * self.spread_D + self.mean_D
        return path_TD.numpy()


def preprocess(frames_THWC: Frames) -> Tensor:
    """Return the frames as float32 (T, C, 64, 64) in [−1, 1]."""
    small = [cv2.resize(frame_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame_HWC in frames_THWC]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1


def make_reader(paths: Sequence[Track]) -> GripperReader:
    """Return an untrained reader that is normalized for such paths."""
    path_ND = torch.from_numpy(np.concatenate(paths)).float()
    return GripperReader(path_ND.mean(0), path_ND.std(0).clamp_min(1e-6)).eval()


def train_reader(frames: Iterable[Frames], paths: Sequence[Track], seed: int = 0, steps: int = STEPS) -> GripperReader:
    """Return a reader trained on clips and their paths. Some of the clips should be VAE round trips.

    The same seed gives the same reader. The random colors of the augmentation start strong and get weaker: without
    them, a reader of few clips relies on their colors and fails on some held-out clips.
    """
    x_NCHW = torch.cat([preprocess(frames_THWC) for frames_THWC in frames]).contiguous(
        memory_format=torch.channels_last
    )
    path_ND = torch.from_numpy(np.concatenate(paths)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = make_reader(paths).train()
        y_ND = (path_ND - reader.mean_D) / reader.spread_D
        optimizer = torch.optim.AdamW(reader.parameters(), LEARNING_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
        for step in range(steps):
            batch = torch.randint(len(x_NCHW), (BATCH,))
            strength = 1 - step / steps
            loss = F.smooth_l1_loss(reader(_augment(x_NCHW[batch], strength)), y_ND[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return reader.eval()


def _augment(x_BCHW: Tensor, strength: float) -> Tensor:
    """Return the pictures with randomly mixed colors and noise, which do not change the position of the robot.

    `strength` is 1 at the first step of the training and falls to 0.
    """
    B, C = x_BCHW.shape[:2]
    mix_BCC = torch.eye(C) + _sigma(COLOR_MIX, strength) * torch.randn(B, C, C)
    offset_BC11 = _sigma(COLOR_OFFSET, strength) * torch.randn(B, C, 1, 1)
    mixed_BCHW = torch.einsum("bij,bjhw->bihw", mix_BCC, x_BCHW)
    return mixed_BCHW + offset_BC11 + 0.05 * torch.randn_like(x_BCHW)


def _sigma(first: float, strength: float) -> float:
    return LAST_COLOR + (first - LAST_COLOR) * strength
