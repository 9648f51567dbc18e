"""A trained policy: the network, its settings, and the statistics that it was trained with.

Shapes: P position numbers, O output numbers, K intervals of a chunk.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldtune.policy.protocol import Control, Observation
from worldtune.policy.spec import PolicySpec
from worldtune.policy.training.network import PolicyNetwork


@dataclass(frozen=True)
class Normalization:
    """Means and standard deviations of the training data: positions (P,) and outputs (O,)."""

    position_mean: Tensor
    position_std: Tensor
    output_mean: Tensor
    output_std: Tensor


class TrainedPolicy:
    """A policy for closed-loop evaluation; it remembers its last gripper command within an episode."""

    def __init__(self, network: PolicyNetwork, normalization: Normalization, spec: PolicySpec) -> None:
        self.network, self.normalization, self.spec = network.eval(), normalization, spec
        self._gripper = 0.0

    @property
    def control(self) -> Control:
        return Control(self.spec.output, self.spec.gain, self.spec.executed)

    def reset(self) -> None:
        """Forget the last gripper command."""
        self._gripper = 0.0

    @torch.inference_mode()
    def act(self, observation: Observation) -> np.ndarray:
        """Return the next chunk of outputs (K, O)."""
        norm = self.normalization
        first, frame = (torch.from_numpy(image)[None] for image in (observation.first_HWC, observation.frame_HWC))
        position_P = torch.from_numpy(observation.state_S[list(self.spec.position_columns)])
        position_BP = ((position_P - norm.position_mean) / norm.position_std)[None]
        chunk_KO = self.network(first, frame, position_BP, torch.tensor([self._gripper]))[0]
        chunk_KO = chunk_KO * norm.output_std + norm.output_mean
        if self.spec.gripper_column is not None:
            column = self.spec.gripper_column if self.spec.output == "command" else -1
            self._gripper = float(chunk_KO[self.spec.executed - 1, column])
        return chunk_KO.numpy()
