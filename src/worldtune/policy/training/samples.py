"""Training samples of episodes as tensors, and batches with a fixed share of synthetic samples.

Shapes: N samples, B batch, C color channels, H, W pixels, P position numbers, K intervals of a chunk, O output numbers
of an interval.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldtune.policy.episode import TrainingEpisode
from worldtune.policy.spec import PolicySpec


@dataclass(frozen=True)
class Samples:
    """One sample for each frame that an action follows.

    frames_NHWC uint8 are all frames; `first_N` are the indices of each sample's first frame. known_NK is 1 where the
    episode has the interval, 0 after its end.
    """

    frames_NHWC: Tensor
    first_N: Tensor
    current_N: Tensor
    position_NP: Tensor
    gripper_N: Tensor
    targets_NKO: Tensor
    known_NK: Tensor
    synthetic_N: Tensor


def collect_samples(episodes: Sequence[TrainingEpisode], spec: PolicySpec) -> Samples:
    """Return the samples of the episodes, in order."""
    parts = [_samples_of(episode, spec) for episode in episodes]
    position_NP, gripper_N, targets_NKO, known_NK = (
        torch.from_numpy(np.concatenate([part[column] for part in parts])) for column in range(4)
    )
    frames_NHWC = torch.from_numpy(np.concatenate([episode.frames_THWC for episode in episodes]))
    starts = torch.tensor([0, *(len(episode.frames_THWC) for episode in episodes)]).cumsum(0)[:-1]
    counts = torch.tensor([len(part[0]) for part in parts])
    first_N = starts.repeat_interleave(counts)
    return Samples(
        frames_NHWC=frames_NHWC,
        first_N=first_N,
        current_N=first_N + torch.cat([torch.arange(int(count)) for count in counts]),
        position_NP=position_NP,
        gripper_N=gripper_N,
        targets_NKO=targets_NKO,
        known_NK=known_NK,
        synthetic_N=torch.tensor([episode.is_synthetic for episode in episodes]).repeat_interleave(counts),
    )


def _samples_of(episode: TrainingEpisode, spec: PolicySpec) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return positions (N, P), last gripper commands (N,), targets (N, K, O) and which are known (N, K)."""
    position_TP = episode.states_TS[:, list(spec.position_columns)].astype(np.float32)
    output_IO = interval_outputs(episode, spec)
    count = len(output_IO)
    gripper_N = np.zeros(count, np.float32)
    if spec.gripper_column is not None:
        gripper_N[1:] = episode.actions_ID[: count - 1, spec.gripper_column]
    at_NK = np.arange(count)[:, None] + np.arange(spec.chunk)
    targets_NKO = output_IO[np.minimum(at_NK, count - 1)]
    return position_TP[:count], gripper_N, targets_NKO, (at_NK < count).astype(np.float32)


def interval_outputs(episode: TrainingEpisode, spec: PolicySpec) -> np.ndarray:
    """Return the outputs (I, O) that the policy learns for each interval of the episode."""
    actions_ID = episode.actions_ID.astype(np.float32)
    if spec.output == "command":
        return actions_ID
    displacement_IP = np.diff(episode.states_TS[:, list(spec.position_columns)].astype(np.float32), axis=0)
    if spec.gripper_column is None:
        return displacement_IP
    return np.concatenate([displacement_IP, actions_ID[: len(displacement_IP), [spec.gripper_column]]], axis=1)


def draw_batches(samples: Samples, spec: PolicySpec, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the sample indices of one batch after another, drawn with replacement from real and synthetic samples."""
    pools = [torch.nonzero(samples.synthetic_N == synthetic).flatten() for synthetic in (False, True)]
    synthetic = round(spec.batch_size * spec.synthetic_share) if len(pools[1]) else 0
    while True:
        drawn = [
            pool[torch.randint(len(pool), (size,), generator=generator)]
            for pool, size in zip(pools, (spec.batch_size - synthetic, synthetic), strict=True)
            if size
        ]
        yield torch.cat(drawn)
