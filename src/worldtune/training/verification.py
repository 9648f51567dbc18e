"""Proof that a base is what it is said to be: every tensor from its files, and a first loss inside its band."""

from dataclasses import dataclass
from statistics import fmean

from worldtune.episodes.clip import Clip
from worldtune.errors import BaseError
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore
from worldtune.training.held_out import held_out_losses
from worldtune.worlds.world import World

SHIFT, SIGMAS = 5.0, 4


@dataclass(frozen=True)
class Verification:
    """Tensors and parameters of each part, all of them from disk; the first loss where clips were given."""

    tensors: dict[str, int]
    parameters: dict[str, int]
    first_loss: float | None


def verify(world: World, clips: list[Clip], store: LatentStore) -> Verification:
    """Load every part of the base, each tensor accounted for, and measure its loss on `clips`.

    Raises BaseError when a part does not fit exactly, or the loss lies outside the base's band: its weights are then
    not what their names say, or the clips are not videos of the kind it was trained on.
    """
    parts = {"denoiser": world.denoiser, "codec": world.codec.vae, "text encoder": world.text.model}
    tensors = {name: len(part.state_dict()) for name, part in parts.items()}
    parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    del parts  # or a second text encoder would be read beside this one
    world.release_encoders()
    if not clips:
        return Verification(tensors, parameters, None)
    encoded = encode_clips(world, clips, store)
    loss = fmean(held_out_losses(world, encoded, "image2world", SIGMAS, world.card.shift(SHIFT), batch=1))
    low, high = world.card.first_loss
    if not low < loss < high:
        raise BaseError(
            f"the first loss is {loss:.3f}, outside {low:g} … {high:g}: its weights are not what they are called",
            where=world.card.source,
            mend="Copy the weights again, or give clips of the kind the base was trained on.",
        )
    return Verification(tensors, parameters, loss)
