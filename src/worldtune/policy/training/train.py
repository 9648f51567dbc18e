"""Behavior cloning of a small policy: `train_policy` is deterministic by its seed.

Shapes: B batch, K intervals of a chunk, O output numbers.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from worldtune.core.progress import Progress, silent
from worldtune.core.seeds import derive_seed
from worldtune.policy.episode import TrainingEpisode, check_episodes
from worldtune.policy.spec import PolicySpec
from worldtune.policy.training.idle import cut_idle_end
from worldtune.policy.training.network import PolicyNetwork
from worldtune.policy.training.samples import Samples, collect_samples, draw_batches
from worldtune.policy.training.trained import Normalization, TrainedPolicy

WEIGHT_DECAY = 1e-4
LEAST_STD = 0.1  # of the largest standard deviation: numbers that barely vary must not dominate the loss
REPORT_EVERY = 50


def train_policy(
    episodes: Sequence[TrainingEpisode], spec: PolicySpec, progress: Progress = silent
) -> tuple[TrainedPolicy, list[float]]:
    """Return a policy that imitates the episodes, and the loss of each step.

    If there are synthetic episodes, each batch has `spec.synthetic_share` of them. The same episodes, settings and
    thread count give the same weights. Raise DataError if the episodes cannot train one policy.
    """
    check_episodes(episodes)
    if spec.idle_threshold:
        episodes = [cut_idle_end(episode, spec.position_columns, spec.idle_threshold) for episode in episodes]
    samples = collect_samples(episodes, spec)
    norm = _normalization(samples)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(spec.seed, "network"))
        network = PolicyNetwork(samples.position_NP.shape[1], spec.chunk, samples.targets_NKO.shape[2])
    losses = _fit(network, samples, norm, spec, progress)
    return TrainedPolicy(network, norm, spec), losses


def _fit(
    network: PolicyNetwork, samples: Samples, norm: Normalization, spec: PolicySpec, progress: Progress
) -> list[float]:
    generator = torch.Generator().manual_seed(derive_seed(spec.seed, "batches"))
    optimizer = torch.optim.AdamW(network.parameters(), spec.learning_rate, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, spec.steps)
    position_NP = (samples.position_NP - norm.position_mean) / norm.position_std
    targets_NKO = (samples.targets_NKO - norm.output_mean) / norm.output_std
    losses = []
    for step, batch_B in zip(range(1, spec.steps + 1), draw_batches(samples, spec, generator), strict=False):
        predicted_BKO = network(
            samples.frames_NHWC[samples.first_N[batch_B]],
            samples.frames_NHWC[samples.current_N[batch_B]],
            position_NP[batch_B],
            samples.gripper_N[batch_B],
        )
        loss = masked_loss(predicted_BKO, targets_NKO[batch_B], samples.known_NK[batch_B])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % REPORT_EVERY == 0 or step == spec.steps:
            progress(step, spec.steps, f"loss {losses[-1]:.3f}")
    return losses


def masked_loss(predicted_BKO: Tensor, targets_BKO: Tensor, known_BK: Tensor) -> Tensor:
    """Return the mean smooth L1 loss over the intervals that the episodes have."""
    error_BKO = nn.functional.smooth_l1_loss(predicted_BKO, targets_BKO, reduction="none")
    return (error_BKO.mean(-1) * known_BK).sum() / known_BK.sum()


def _normalization(samples: Samples) -> Normalization:
    """Return the statistics of all samples; small standard deviations are raised to a tenth of the largest."""
    outputs_NO = samples.targets_NKO[:, 0]
    return Normalization(
        samples.position_NP.mean(0),
        _std(samples.position_NP),
        outputs_NO.mean(0),
        _std(outputs_NO),
    )


def _std(values_NX: Tensor) -> Tensor:
    std_X = values_NX.std(0)
    return std_X.clamp(min=max(LEAST_STD * float(std_X.max()), 1e-6))
