"""Verify a base: every tensor comes from its files, and its first loss is in the expected range."""

from dataclasses import dataclass
from statistics import fmean

from worldtune.core.settings import parse_model
from worldtune.data.clip import Clip
from worldtune.data.dataset import open_dataset
from worldtune.data.spec import DataSpec
from worldtune.errors import BaseError
from worldtune.latents.encode import encode_clips
from worldtune.latents.store import LatentStore, default_store
from worldtune.models.load import open_world_on
from worldtune.models.world import World, WorldCard
from worldtune.training.validation.held_out_loss import held_out_losses

SHIFT, SIGMAS = 5.0, 4


@dataclass(frozen=True)
class Verification:
    """The counts of tensors and parameters of each part, all loaded from disk; the first loss, if clips were given."""

    tensors: dict[str, int]
    parameters: dict[str, int]
    first_loss: float | None


@dataclass(frozen=True)
class VerifiedBase:
    """A verified base: its card, the findings, and the number of clips that its loss was measured on."""

    card: WorldCard
    found: Verification
    clips: int


def verify_base(
    base: str, clips: str | None, *, cameras: list[str] | None = None, count: int = 4, device: str | None = None
) -> VerifiedBase:
    """Open and verify a base; measure its loss on the first `count` clips of the dataset `clips`, if any.

    Clips are read in the base's size and frame rate. Raise BaseError as `verify` does, DataError for a dataset that
    cannot be used.
    """
    world = open_world_on(device, base)
    card, chosen = world.card, list[Clip]()
    if clips:
        size = {"frames": card.frames, "fps": card.fps, "height": card.height, "width": card.width}
        chosen = open_dataset(parse_model(DataSpec, {"path": clips, "cameras": cameras, **size}, "clips")).clips[:count]
    return VerifiedBase(card, verify(world, chosen, default_store()), len(chosen))


def verify(world: World, clips: list[Clip], store: LatentStore) -> Verification:
    """Load every part of the base, check that each tensor is loaded, and measure the loss on `clips`.

    Raise BaseError if a part does not fit exactly, or the loss is outside the base's band: then the weights are not
    those that their names promise, or the clips are not videos of the kind that the base was trained on.
    """
    parts = {"denoiser": world.denoiser, "codec": world.codec.vae, "text encoder": world.text.model}
    tensors = {name: len(part.state_dict()) for name, part in parts.items()}
    parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    del parts  # frees the text encoder before another one is loaded
    world.release_encoders()
    if not clips:
        return Verification(tensors, parameters, None)
    encoded = encode_clips(world, clips, store)
    loss = fmean(held_out_losses(world, encoded, "image2world", SIGMAS, world.card.shift(SHIFT), batch=1))
    low, high = world.card.first_loss
    if not low < loss < high:
        raise BaseError(
            f"the first loss is {loss:.3f}, outside {low:g} … {high:g}: these are probably the wrong weights",
            where=world.card.source,
            hint="Copy the weights again, or use clips of the kind that the base was trained on.",
        )
    return Verification(tensors, parameters, loss)
