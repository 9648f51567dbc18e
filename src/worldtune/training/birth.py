"""The birth proof: before step 1 and after the last, what must be true of a run that trains something.

It exists because adapters have been trained on bases whose weights were never loaded
(https://github.com/nvidia-cosmos/cosmos-predict2.5/issues/160) and have changed nothing
(https://github.com/nvidia-cosmos/cosmos-predict2/issues/176).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldtune.adapters.card import BirthProof
from worldtune.adapters.inject import expected_modules, wrapped_modules
from worldtune.adapters.spec import AdapterSpec
from worldtune.diffusion.objective import squared_error_per_clip
from worldtune.errors import BirthProofError
from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.training.data import spread
from worldtune.training.draws import held_out_draws
from worldtune.training.objective import loss_per_clip, predict
from worldtune.training.team import ALONE, Team
from worldtune.worlds.world import World

PROBED, SIGMAS = 4, 4  # clips, noise levels of each
STRANGE = 4  # times the band's upper end, which is of the base's own domain: a robot or camera it has never seen
NUDGE = 1e-2  # of B, whose zero hides A from the gradient


@dataclass
class Newborn:
    """An injected adapter's parameters as they were born, and what is proved of it so far."""

    parameters: Mapping[str, nn.Parameter]
    born: dict[str, Tensor]
    base_velocity: Tensor
    mode: str
    proof: BirthProof


def prove_born(
    world: World,
    spec: AdapterSpec,
    parameters: Mapping[str, nn.Parameter],
    clips: Sequence[LatentClip],
    shift: float | None,
    team: Team = ALONE,
    mode: str = "image2world",
) -> Newborn:
    """Prove that the base under a fresh adapter is loaded, wrapped as expected, unchanged, and reached by gradients.

    `clips` are those trained on, `mode` is one they are trained in. Raises BirthProofError otherwise.
    """
    wrapped, expected = len(wrapped_modules(world.denoiser)), expected_modules(world.denoiser, spec)
    if wrapped != expected:
        raise BirthProofError(
            f"{wrapped} modules carry the adapter, {expected} must", where=world.card.source, mend="Report this base."
        )
    world.denoiser.disable_adapters()
    first_loss = _first_loss(world, clips, shift, mode)
    before, *_ = _probe(world, clips[0], shift, mode)
    world.denoiser.enable_adapters()
    difference = (_probe(world, clips[0], shift, mode)[0] - before).abs().max().item()
    if difference != 0:
        raise BirthProofError(
            f"the untrained adapter already changes the base's output by {difference:.2e}",
            where=world.card.source,
            mend="Train over an fp32 base, or report this.",
        )
    _prove_reached(world, parameters, clips[0], shift, mode, team)
    proof = BirthProof(
        base_tensors=world.tensors,
        wrapped_modules=wrapped,
        expected_modules=expected,
        trainable_parameters=sum(p.numel() for p in parameters.values()),
        zero_step_difference=difference,
        first_loss=first_loss,
        first_loss_band=_band(world),
        reached_tensors=len(parameters),
    )
    return Newborn(parameters, {name: p.detach().cpu().clone() for name, p in parameters.items()}, before, mode, proof)


def prove_grown(world: World, newborn: Newborn, clips: Sequence[LatentClip], shift: float | None) -> BirthProof:
    """After training: every tensor moved and the output differs. Raises BirthProofError otherwise."""
    after, *_ = _probe(world, clips[0], shift, newborn.mode)
    final_loss, _ = _mean_loss(world, clips, shift, newborn.mode)
    dead = [name for name, p in newborn.parameters.items() if torch.equal(p.detach().cpu(), newborn.born[name])]
    difference = (after - newborn.base_velocity).abs().max().item()
    if dead:
        raise BirthProofError(
            f"{len(dead)} adapter tensors never changed, first: {dead[0]}",
            where=world.card.source,
            mend="Raise train.steps or train.lr; if that does not help, report this.",
        )
    if not difference > 0:
        raise BirthProofError(
            "the trained adapter does not change the output", where=world.card.source, mend="Raise train.steps or lr."
        )
    return newborn.proof.model_copy(update={"trained_difference": difference, "final_loss": final_loss})


def _mean_loss(world: World, clips: Sequence[LatentClip], shift: float | None, mode: str) -> tuple[float, float]:
    """The loss of a few clips at a few noise levels, and that of predicting zero."""
    probes = [
        _probe(world, clip, shift, mode, (number + 0.5) / SIGMAS)[1:]
        for clip in spread(clips, PROBED)
        for number in range(SIGMAS)
    ]
    loss, guess = (math.fsum(each) / len(probes) for each in zip(*probes, strict=True))
    return loss, guess


def _first_loss(world: World, clips: Sequence[LatentClip], shift: float | None, mode: str) -> float:
    """The base's mean loss. Raises BirthProofError unless it is inside the base's band.

    What predicts nothing has the mean square of the velocity as its loss, and what was not loaded has more.
    """
    (loss, guess), (_, high) = _mean_loss(world, clips, shift, mode), _band(world)
    if not loss < guess:
        raise BirthProofError(
            f"the base's loss {loss:.3f} is no better than predicting zero ({guess:.3f})",
            where=world.card.source,
            mend="Are the weights those of this base, and are the clips videos of its kind?",
        )
    if not loss < high:
        raise BirthProofError(
            f"the base's first loss is {loss:.3f}, outside its band 0 … {high:g}",
            where=world.card.source,
            mend="Look at the clips with `worldtune inspect`, and prove the base with `worldtune bases verify`.",
        )
    return loss


def _band(world: World) -> tuple[float, float]:
    """The first losses that this base may have on clips of any kind."""
    low, high = world.card.first_loss
    return low, STRANGE * high


def _prove_reached(
    world: World, parameters: Mapping[str, nn.Parameter], clip: LatentClip, shift: float | None, mode: str, team: Team
) -> None:
    """Every tensor gets a finite gradient that is not zero, with a little in B. Raises BirthProofError otherwise."""
    of_b = {name: parameter for name, parameter in parameters.items() if ".lora_B." in name}
    before = {name: parameter.detach().clone() for name, parameter in of_b.items()}
    with torch.no_grad():
        for parameter in of_b.values():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
            parameter.add_(NUDGE * noise.to(parameter.device))
    z_BCTHW, text_BND = load_batch([clip])
    draws = held_out_draws(z_BCTHW, mode, shift, 0.5, [0])
    loss_per_clip(world, z_BCTHW, text_BND, draws).sum().backward()
    team.sum_gradients(parameters.values())
    unreached = [name for name, p in parameters.items() if p.grad is None or not _is_some(p.grad)]
    with torch.no_grad():
        for name, parameter in of_b.items():
            parameter.copy_(before[name])
    for parameter in parameters.values():
        parameter.grad = None
    if unreached:
        raise BirthProofError(
            f"{len(unreached)} adapter tensors get no finite gradient, first: {unreached[0]}",
            where=world.card.source,
            mend="Report this base.",
        )


def _is_some(gradient: Tensor) -> bool:
    return bool(gradient.isfinite().all() and gradient.any())


@torch.no_grad()
def _probe(
    world: World, clip: LatentClip, shift: float | None, mode: str, quantile: float = 0.5
) -> tuple[Tensor, float, float]:
    """Velocity of one clip under one fixed draw, its loss, and the loss of predicting zero."""
    z_BCTHW, text_BND = load_batch([clip])
    draws = held_out_draws(z_BCTHW, mode, shift, quantile, [0])
    v_BCTHW, target_BCTHW, known_BT = predict(world, z_BCTHW, text_BND, draws)
    loss = squared_error_per_clip(v_BCTHW, target_BCTHW, known_BT).item()
    return v_BCTHW, loss, squared_error_per_clip(torch.zeros_like(v_BCTHW), target_BCTHW, known_BT).item()
