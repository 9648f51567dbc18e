"""Where the gripper goes, read from pictures by a small network trained on the dataset's own frames and states.

A video may be near to the real one in every pixel and its robot still go half of its way: a model that cannot tell
several motions apart predicts their mean. What is read from the real video of the same first frame is the measure, so
that what the reader cannot see is missing on both sides.

Shape letters: T frames, H height, W width, C channels, N clips, D coordinates, K keypoints, B batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldtune.evaluation.case import Frames, Track

SIDE, KEYPOINTS, WIDTH = 64, 24, 32
STEPS, BATCH, RATE = 300, 32, 3e-3
READS = 0.8  # of the variance on clips that it was not trained on: a reader that explains less is not asked


class Reader(nn.Module):
    """Convolutions, the expected place of each of K features (Levine et al. 2016, §5.1), and a small map to D."""

    mean_D: Tensor
    spread_D: Tensor

    def __init__(self, mean_D: Tensor, spread_D: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean_D", mean_D)
        self.register_buffer("spread_D", spread_D)
        self.features = nn.Sequential(
            nn.Conv2d(3, WIDTH, 5, stride=2, padding=2), nn.GroupNorm(4, WIDTH), nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 5, padding=2), nn.GroupNorm(4, WIDTH), nn.SiLU(),
            nn.Conv2d(WIDTH, KEYPOINTS, 5, padding=2),
        )  # fmt: skip
        self.out = nn.Sequential(nn.Linear(3 * KEYPOINTS, 64), nn.SiLU(), nn.Linear(64, len(mean_D)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Coordinates (B, D), in spreads from their mean."""
        maps_BKHW = self.features(x_BCHW)
        H, W = maps_BKHW.shape[2:]
        weight_BKN = maps_BKHW.flatten(2).softmax(-1)
        y, x = torch.meshgrid(torch.linspace(-1, 1, H), torch.linspace(-1, 1, W), indexing="ij")
        place_N2 = torch.stack([x.flatten(), y.flatten()], -1)
        peak_BK = maps_BKHW.flatten(2).amax(-1) - maps_BKHW.flatten(2).mean(-1)
        return self.out(torch.cat([(weight_BKN @ place_N2).flatten(1), torch.tanh(peak_BK / 4)], -1))

    def as_vector(self) -> Tensor:
        """All that it consists of, in one row."""
        return torch.cat([tensor.flatten() for tensor in self.state_dict().values()])

    def load_vector(self, vector: Tensor) -> None:
        """Be what `as_vector` gave. Raises ValueError when it is of another reader."""
        own = self.state_dict()
        parts = vector.split([tensor.numel() for tensor in own.values()])
        self.load_state_dict({name: part.view_as(own[name]) for name, part in zip(own, parts, strict=True)})

    @torch.inference_mode()
    def read(self, frames_THWC: Frames) -> Track:
        """The path of a video."""
        found_TD = self(pictures(frames_THWC)) * self.spread_D + self.mean_D
        return found_TD.numpy()


def pictures(frames_THWC: Frames) -> Tensor:
    """float32 (T, C, 64, 64) in [−1, 1]."""
    small = [cv2.resize(frame_HWC, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame_HWC in frames_THWC]
    return torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 127.5 - 1


def new_reader(paths: Sequence[Track]) -> Reader:
    """An untrained reader of such paths."""
    path_ND = torch.from_numpy(np.concatenate(paths)).float()
    return Reader(path_ND.mean(0), path_ND.std(0).clamp_min(1e-6)).eval()


def train_reader(frames: Iterable[Frames], paths: Sequence[Track], seed: int = 0, steps: int = STEPS) -> Reader:
    """A reader of clips' frames, each with its path. Frames that came through the VAE should be among them."""
    x_NCHW = torch.cat([pictures(frames_THWC) for frames_THWC in frames]).contiguous(memory_format=torch.channels_last)
    path_ND = torch.from_numpy(np.concatenate(paths)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        reader = new_reader(paths).train()
        y_ND = (path_ND - reader.mean_D) / reader.spread_D
        optimizer = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
        for _ in range(steps):
            its = torch.randint(len(x_NCHW), (BATCH,))
            loss = F.smooth_l1_loss(reader(_changed(x_NCHW[its])), y_ND[its])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return reader.eval()


def _changed(x_BCHW: Tensor) -> Tensor:
    """In other light and with noise: what a generated picture may differ by without the robot being elsewhere."""
    light = 1 + 0.2 * (torch.rand(len(x_BCHW), 1, 1, 1) - 0.5), 0.2 * (torch.rand(len(x_BCHW), 3, 1, 1) - 0.5)
    return x_BCHW * light[0] + light[1] + 0.05 * torch.randn_like(x_BCHW)


def explained(reader: Reader, frames: Iterable[Frames], paths: Sequence[Track]) -> float:
    """The share of the variance of these paths that the reader explains (R²): of clips it was not trained on."""
    read, true = np.concatenate([reader.read(each) for each in frames]), np.concatenate(paths)
    return float(1 - np.square(read - true).sum() / np.square(true - true.mean(0)).sum())


@dataclass(frozen=True)
class PathScores:
    """Of one clip: the correlation of both paths, how far the end points lie apart, and the two sums of the slope.

    The slope over clips is Σ along / Σ square: how far the generated end points go for each unit that the real ones
    go, in their direction. 1 is right, 0 is a robot that stays, or goes elsewhere.
    """

    correlation: float | None
    end_point: float
    along: float
    square: float


def compare_paths(mine_TD: Track, real_TD: Track) -> PathScores:
    """Both as read from videos with the same first frame."""
    mine, real = (path.astype(np.float64) - path[:1] for path in (mine_TD, real_TD))
    return PathScores(
        correlation=_correlation(mine, real),
        end_point=float(np.linalg.norm(mine[-1] - real[-1])),
        along=float(mine[-1] @ real[-1]),
        square=float(real[-1] @ real[-1]),
    )


def _correlation(mine_TD: npt.NDArray[np.float64], real_TD: npt.NDArray[np.float64]) -> float | None:
    """None where the real path stays; 0 where mine does."""
    mine, real = mine_TD - mine_TD.mean(0), real_TD - real_TD.mean(0)
    spreads = float(np.linalg.norm(mine)), float(np.linalg.norm(real))
    if spreads[1] == 0:
        return None
    return float((mine * real).sum() / (spreads[0] * spreads[1])) if spreads[0] > 0 else 0.0
