"""The birth proof: before step 1 and after the last, what must be true of a run that trains something.

It exists because adapters have been trained on bases whose weights were never loaded
(https://github.com/nvidia-cosmos/cosmos-predict2.5/issues/160) and have changed nothing
(https://github.com/nvidia-cosmos/cosmos-predict2/issues/176).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from worldtune.adapters.card import BirthProof
from worldtune.adapters.inject import expected_modules, inject, wrapped_modules
from worldtune.adapters.spec import AdapterSpec
from worldtune.diffusion.objective import squared_error_per_clip
from worldtune.errors import BirthProofError
from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.training.draws import held_out_draws
from worldtune.training.objective import predict
from worldtune.worlds.world import World


@dataclass
class Newborn:
    """An injected adapter, its parameters as they were born, and what is proved of it so far."""

    parameters: dict[str, nn.Parameter]
    born: dict[str, Tensor]
    base_velocity: Tensor
    proof: BirthProof


def give_birth(world: World, spec: AdapterSpec, probe: LatentClip, shift: float | None, seed: int) -> Newborn:
    """Inject the adapter and prove that the base is loaded, wrapped as expected and so far unchanged.

    Raises BirthProofError otherwise.
    """
    before, first_loss, guess = _probe(world, probe, shift)
    if not first_loss < guess:
        raise BirthProofError(
            f"the base's loss {first_loss:.3f} is no better than predicting zero ({guess:.3f})",
            where=world.card.source,
            mend="Are the weights those of this base, and are the clips videos of its kind?",
        )
    parameters = inject(world.denoiser, spec, seed)
    wrapped, expected = len(wrapped_modules(world.denoiser)), expected_modules(world.denoiser, spec)
    if wrapped != expected:
        raise BirthProofError(
            f"{wrapped} modules carry the adapter, {expected} must", where=world.card.source, mend="Report this base."
        )
    difference = (_probe(world, probe, shift)[0] - before).abs().max().item()
    if difference != 0:
        raise BirthProofError(
            f"the untrained adapter already changes the base's output by {difference:.2e}",
            where=world.card.source,
            mend="Train over an fp32 base, or report this.",
        )
    proof = BirthProof(
        base_tensors=world.tensors,
        wrapped_modules=wrapped,
        expected_modules=expected,
        trainable_parameters=sum(p.numel() for p in parameters.values()),
        zero_step_difference=difference,
        first_loss=first_loss,
        dead_tensors=[],
    )
    return Newborn(parameters, {name: p.detach().cpu().clone() for name, p in parameters.items()}, before, proof)


def prove_grown(world: World, newborn: Newborn, probe: LatentClip, shift: float | None) -> BirthProof:
    """After training: every tensor moved and the output differs. Raises BirthProofError otherwise."""
    after, final_loss, _ = _probe(world, probe, shift)
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


@torch.no_grad()
def _probe(world: World, clip: LatentClip, shift: float | None) -> tuple[Tensor, float, float]:
    """Velocity of one clip under one fixed draw, its loss, and the loss of predicting zero."""
    z_BCTHW, text_BND = load_batch([clip])
    draws = held_out_draws(z_BCTHW, "image2world", shift, 0.5, [0])
    v_BCTHW, target_BCTHW, known_BT = predict(world, z_BCTHW, text_BND, draws)
    loss = squared_error_per_clip(v_BCTHW, target_BCTHW, known_BT).item()
    return v_BCTHW, loss, squared_error_per_clip(torch.zeros_like(v_BCTHW), target_BCTHW, known_BT).item()
