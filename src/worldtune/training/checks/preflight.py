"""The preflight check, before the first step and after the last: the run really trains something.

Adapters have been trained on bases whose weights were never loaded
(https://github.com/nvidia-cosmos/cosmos-predict2.5/issues/160), and adapters have changed nothing
(https://github.com/nvidia-cosmos/cosmos-predict2/issues/176).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldtune.adapters.actions import form_of, owns_embedders
from worldtune.adapters.card import PreflightProof
from worldtune.adapters.inject import expected_modules, wrapped_modules
from worldtune.adapters.spec import AdapterSpec
from worldtune.data.splits.spread import spread
from worldtune.diffusion.loss import squared_error_per_clip
from worldtune.errors import PreflightError
from worldtune.latents.action_batch import clip_actions
from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.models.world import World
from worldtune.training.data.sampling_noise import held_out_draws
from worldtune.training.distributed import SINGLE_PROCESS, Distributed
from worldtune.training.flow_matching_loss import loss_per_clip, predict

PROBED_CLIPS, SIGMAS = 4, 4  # clips, and noise levels of each
BAND_MARGIN = 4  # times the largest first loss in the base's own domain: for robots and cameras it has never seen
B_NOISE = 1e-2  # standard deviation of noise added to layers that start at zero: behind them, nothing gets a gradient


@dataclass
class PreflightState:
    """An injected adapter's parameters with their initial values, and the checks that it has passed."""

    parameters: Mapping[str, nn.Parameter]
    initial: dict[str, Tensor]
    base_velocity: Tensor
    mode: str
    proof: PreflightProof


def preflight(
    world: World,
    spec: AdapterSpec,
    parameters: Mapping[str, nn.Parameter],
    clips: Sequence[LatentClip],
    shift: float | None,
    distributed: Distributed = SINGLE_PROCESS,
    mode: str = "image2world",
) -> PreflightState:
    """Check that the base is loaded, and that the new adapter wraps it as expected, does not change it, and gets
    gradients.

    `clips` are training clips and `mode` a trained mode. Raise PreflightError if a check fails.
    """
    wrapped, expected = len(wrapped_modules(world.denoiser)), expected_modules(world.denoiser, spec)
    if wrapped != expected:
        raise PreflightError(
            f"{wrapped} modules carry the adapter, not {expected}", where=world.card.source, hint="Report this base."
        )
    world.denoiser.disable_adapters()
    first_loss = _first_loss(world, clips, shift, mode)
    before, *_ = _probe(world, clips[0], shift, mode, with_actions=owns_embedders(world.denoiser))
    world.denoiser.enable_adapters()
    difference = (_probe(world, clips[0], shift, mode)[0] - before).abs().max().item()
    if difference != 0:
        raise PreflightError(
            f"the untrained adapter already changes the base's output by {difference:.2e}",
            where=world.card.source,
            hint="Use an fp32 base, or report this.",
        )
    _check_gradients_reach(world, parameters, clips[0], shift, mode, distributed)
    proof = PreflightProof(
        base_tensors=world.tensors,
        wrapped_modules=wrapped,
        expected_modules=expected,
        trainable_parameters=sum(p.numel() for p in parameters.values()),
        zero_step_difference=difference,
        first_loss=first_loss,
        first_loss_band=_band(world),
        reached_tensors=len(parameters),
    )
    return PreflightState(
        parameters, {name: p.detach().cpu().clone() for name, p in parameters.items()}, before, mode, proof
    )


def check_after_training(
    world: World, preflight_state: PreflightState, clips: Sequence[LatentClip], shift: float | None
) -> PreflightProof:
    """Return the completed proof. Raise PreflightError if a tensor or the output is unchanged after training."""
    after, *_ = _probe(world, clips[0], shift, preflight_state.mode)
    final_loss, _ = _mean_loss(world, clips, shift, preflight_state.mode)
    unchanged = [
        name
        for name, p in preflight_state.parameters.items()
        if torch.equal(p.detach().cpu(), preflight_state.initial[name])
    ]
    difference = (after - preflight_state.base_velocity).abs().max().item()
    if unchanged:
        raise PreflightError(
            f"{len(unchanged)} adapter tensors never changed, first: {unchanged[0]}",
            where=world.card.source,
            hint="Raise train.steps or train.lr; if that does not help, report this.",
        )
    if not difference > 0:
        raise PreflightError(
            "the trained adapter does not change the output",
            where=world.card.source,
            hint="Raise train.steps or train.lr.",
        )
    return preflight_state.proof.model_copy(update={"trained_difference": difference, "final_loss": final_loss})


def _mean_loss(world: World, clips: Sequence[LatentClip], shift: float | None, mode: str) -> tuple[float, float]:
    """Return the mean loss of a few clips at a few noise levels, and the loss of predicting zero."""
    probes = [
        _probe(world, clip, shift, mode, (number + 0.5) / SIGMAS)[1:]
        for clip in spread(clips, PROBED_CLIPS)
        for number in range(SIGMAS)
    ]
    loss, zero_loss = (math.fsum(losses) / len(probes) for losses in zip(*probes, strict=True))
    return loss, zero_loss


def _first_loss(world: World, clips: Sequence[LatentClip], shift: float | None, mode: str) -> float:
    """Return the base's mean loss. Raise PreflightError if it is outside the base's band.

    Predicting zero has the mean square of the velocity as its loss; a base without its weights has a larger loss.
    """
    (loss, zero_loss), (_, high) = _mean_loss(world, clips, shift, mode), _band(world)
    if not loss < zero_loss:
        raise PreflightError(
            f"the base's loss {loss:.3f} is no better than predicting zero ({zero_loss:.3f})",
            where=world.card.source,
            hint="Check that the weights are those of this base, and that the clips are videos of its kind.",
        )
    if not loss < high:
        raise PreflightError(
            f"the base's first loss is {loss:.3f}, outside the expected range 0 … {high:g}",
            where=world.card.source,
            hint="Look at the clips with `worldtune inspect`, and check the base with `worldtune bases verify`.",
        )
    return loss


def _band(world: World) -> tuple[float, float]:
    """Return the range of first losses that this base may have on clips of any kind."""
    low, high = world.card.first_loss
    return low, BAND_MARGIN * high


def _check_gradients_reach(
    world: World,
    parameters: Mapping[str, nn.Parameter],
    clip: LatentClip,
    shift: float | None,
    mode: str,
    distributed: Distributed,
) -> None:
    """Raise PreflightError if a tensor's gradient is zero or not finite while layers that start at zero hold a little
    noise: B, and the last layers of the action embedder.
    """
    zero_layers = {name: p for name, p in parameters.items() if ".lora_B." in name or name.endswith(".fc2.weight")}
    before = {name: parameter.detach().clone() for name, parameter in zero_layers.items()}
    with torch.no_grad():
        for parameter in zero_layers.values():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
            parameter.add_(B_NOISE * noise.to(parameter.device))
    z_BCTHW, text_BND = load_batch([clip])
    draws = held_out_draws(z_BCTHW, mode, shift, 0.5, [0])
    actions = clip_actions(form_of(world.denoiser), [clip], z_BCTHW.shape[2])
    loss_per_clip(world, z_BCTHW, text_BND, draws, actions).sum().backward()
    distributed.all_reduce_gradients(parameters.values())
    unreached = [name for name, p in parameters.items() if p.grad is None or not _is_finite_nonzero(p.grad)]
    with torch.no_grad():
        for name, parameter in zero_layers.items():
            parameter.copy_(before[name])
    for parameter in parameters.values():
        parameter.grad = None
    if unreached:
        raise PreflightError(
            f"{len(unreached)} adapter tensors get no finite gradient, first: {unreached[0]}",
            where=world.card.source,
            hint="Report this base.",
        )


def _is_finite_nonzero(gradient: Tensor) -> bool:
    return bool(gradient.isfinite().all() and gradient.any())


@torch.no_grad()
def _probe(
    world: World,
    clip: LatentClip,
    shift: float | None,
    mode: str,
    quantile: float = 0.5,
    *,
    with_actions: bool = True,
) -> tuple[Tensor, float, float]:
    """Return the velocity of one clip for one fixed draw, its loss, and the loss of predicting zero."""
    z_BCTHW, text_BND = load_batch([clip])
    draws = held_out_draws(z_BCTHW, mode, shift, quantile, [0])
    actions = clip_actions(form_of(world.denoiser), [clip], z_BCTHW.shape[2]) if with_actions else None
    v_BCTHW, target_BCTHW, cond_mask_BT = predict(world, z_BCTHW, text_BND, draws, actions)
    loss = squared_error_per_clip(v_BCTHW, target_BCTHW, cond_mask_BT).item()
    return v_BCTHW, loss, squared_error_per_clip(torch.zeros_like(v_BCTHW), target_BCTHW, cond_mask_BT).item()
