"""A small policy network: first and current frame, hand position and last gripper command -> a chunk of outputs.

The image part ends in keypoints, the mean image coordinates of each channel's activation (spatial softmax; Levine et
al. 2016, "End-to-End Training of Deep Visuomotor Policies"), beside a coarse feature map.

Shapes: B batch, C color channels, H, W pixels, F feature channels, P position numbers, K intervals of a chunk, O output
numbers.
"""

import torch
from torch import Tensor, nn

KEYPOINTS = 32


class PolicyNetwork(nn.Module):
    """About 0.2 million parameters; images of at least 32×32 pixels."""

    def __init__(self, position_size: int, chunk: int, output_size: int) -> None:
        super().__init__()
        self.chunk, self.output_size = chunk, output_size
        self.convolutions = nn.Sequential(
            nn.Conv2d(6, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, KEYPOINTS, 3, padding=1),
        )
        self.coarse = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(KEYPOINTS, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Linear(2 * KEYPOINTS + 512 + position_size + 1, 256),
            nn.ReLU(),
            nn.Linear(256, 128),
            nn.ReLU(),
            nn.Linear(128, chunk * output_size),
        )

        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU

    def forward(self, first_BHWC: Tensor, frame_BHWC: Tensor, position_BP: Tensor, gripper_B: Tensor) -> Tensor:
        """Return normalized outputs (B, K, O), for uint8 images, normalized positions and gripper commands."""
        x_BCHW = torch.cat([first_BHWC, frame_BHWC], 3).permute(0, 3, 1, 2).float().div(127.5).sub(1)
        features_BFHW = self.convolutions(x_BCHW)
        inputs = [keypoints(features_BFHW), self.coarse(features_BFHW), position_BP, gripper_B[:, None]]
        return self.head(torch.cat(inputs, 1)).view(-1, self.chunk, self.output_size)


def keypoints(features_BFHW: Tensor) -> Tensor:
    """Return the mean column and row of each channel's softmax, (B, 2F), in [-1, 1]."""
    height, width = features_BFHW.shape[-2:]
    weight_BFHW = features_BFHW.flatten(2).softmax(-1).view_as(features_BFHW)
    column_BF = (weight_BFHW.sum(2) * torch.linspace(-1, 1, width)).sum(-1)
    row_BF = (weight_BFHW.sum(3) * torch.linspace(-1, 1, height)).sum(-1)
    return torch.cat([column_BF, row_BF], 1)
