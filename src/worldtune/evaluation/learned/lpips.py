"""LPIPS: perceptual distance of two pictures, as a weighted distance of AlexNet's features.

Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric", eq. 1; the weights are
torchvision's AlexNet and github.com/richzhang/PerceptualSimilarity's `alex.pth` (v0.1).

Shapes: T pictures, C channels, H×W pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldtune.core.tensors.read import read_tensors
from worldtune.errors import UserError
from worldtune.evaluation.cases.case import Frames
from worldtune.evaluation.learned.weights import KINDS, Weights

CONVOLUTIONS = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}
"""Stride and padding of AlexNet's convolutions, by their index in torchvision's `features`."""
POOLED = (3, 6)  # convolutions after a max pooling
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
BATCH = 16
SUFFIXES = (".pth", ".pt", ".safetensors")


class Lpips:
    """LPIPS with AlexNet. Raise UserError if the folder lacks a tensor."""

    def __init__(self, weights: Weights, device: str) -> None:
        self.weights, self._device = weights, device
        tensors = _tensors(weights)
        try:
            self._layers = [
                (number, tensors[f"features.{number}.weight"].to(device), tensors[f"features.{number}.bias"].to(device))
                for number in CONVOLUTIONS
            ]
            self._linear = [tensors[f"lin{index}.model.1.weight"].to(device) for index in range(len(CONVOLUTIONS))]
        except KeyError as error:
            raise UserError(
                f"the tensor {error.args[0]} is missing",
                where=str(weights.folder),
                hint=f"Use a folder with {KINDS['lpips']}.",
            ) from error
        self._shift, self._scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (SHIFT, SCALE))

    @torch.inference_mode()
    def distance(self, first_THWC: Frames, second_THWC: Frames) -> list[float]:
        """Return the distance of each pair of pictures."""
        distances: list[float] = []
        for first in range(0, len(first_THWC), BATCH):
            pair = (frames_THWC[first : first + BATCH] for frames_THWC in (first_THWC, second_THWC))
            parts = [self._features(frames_THWC) for frames_THWC in pair]
            total_T = torch.zeros(len(parts[0][0]), device=self._device)
            for first_TCHW, second_TCHW, weight in zip(*parts, self._linear, strict=True):
                difference_TCHW = (_unit(first_TCHW) - _unit(second_TCHW)).square()
                total_T += F.conv2d(difference_TCHW, weight).mean((1, 2, 3))
            distances += total_T.tolist()
        return distances

    def _features(self, frames_THWC: Frames) -> list[Tensor]:
        x_TCHW = torch.from_numpy(np.ascontiguousarray(frames_THWC)).to(self._device).permute(0, 3, 1, 2).float()
        x_TCHW = (x_TCHW / 127.5 - 1 - self._shift) / self._scale
        features = []
        for number, weight, bias in self._layers:
            if number in POOLED:
                x_TCHW = F.max_pool2d(x_TCHW, 3, 2)
            stride, padding = CONVOLUTIONS[number]
            x_TCHW = F.relu(F.conv2d(x_TCHW, weight, bias, stride, padding))
            features.append(x_TCHW)
        return features


def _unit(x_TCHW: Tensor) -> Tensor:
    return x_TCHW / (x_TCHW.square().sum(1, keepdim=True).sqrt() + 1e-10)


def _tensors(weights: Weights) -> dict[str, Tensor]:
    """Return all tensors of all weight files in the folder. Raise UserError if a file cannot be read."""
    files = sorted(file for file in weights.folder.iterdir() if file.suffix in SUFFIXES)
    return {name: tensor for file in files for name, tensor in read_tensors(file).items()}
