"""Put an adapter onto its base, and check that it fits and changes the output.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import CosmosTransformer3DModel
from torch import Tensor

from worldtune.adapters.folder import load_adapter, remove_adapter
from worldtune.adapters.layers.low_rank import LowRank
from worldtune.errors import AdapterError
from worldtune.models.catalog import KnownBase
from worldtune.models.world import World

NEGLIGIBLE_CHANGE = 1e-6  # relative to the base's output: smaller changes are rounding
FRAMES, SIDE, TOKENS, SIGMA = 2, 8, 8, 0.5  # of the probe, small enough for laptops


def check_fits(denoiser: CosmosTransformer3DModel, layers: Mapping[str, LowRank], base: str, where: str) -> None:
    """Raise AdapterError unless every module of the adapter is a weight of the base with the same shape.

    The denoiser may be on the meta device.
    """
    shapes = {name.removesuffix(".weight"): tuple(t.shape) for name, t in denoiser.named_parameters()}
    for name, layer in layers.items():
        wanted = (layer.b_OR.shape[0], layer.a_RI.shape[1])
        if name not in shapes:
            blocks = len(denoiser.transformer_blocks)
            what = f"{name} of the adapter is not in {base}, which has {blocks} blocks"
            raise AdapterError(what, where=where, hint="Specify the base that it was made for.")
        if shapes[name] != wanted:
            what = f"{name} of the adapter is for a weight of {wanted}, in {base} it is {shapes[name]}"
            raise AdapterError(what, where=where, hint="Specify the base that it was made for.")


def empty_denoiser(base: KnownBase) -> CosmosTransformer3DModel:
    """Return a base's denoiser on the meta device: shapes without data."""
    with torch.device("meta"):
        return CosmosTransformer3DModel(**base.architecture.config())


@torch.no_grad()
def probe(world: World, folder: Path, digest: str | None = None) -> float:
    """Load an adapter folder as `generate` does, and return ‖v − v_base‖ / ‖v_base‖ of one velocity of fixed noise.

    The adapter is removed again. Raise AdapterError if it cannot be loaded, or makes the velocity NaN or infinite.
    """
    before = _velocity(world)
    load_adapter(folder, world.denoiser, world.card.digest, digest)
    try:
        after = _velocity(world)
    finally:
        remove_adapter(world.denoiser)
    change = ((after - before).norm() / before.norm()).item()
    if not after.isfinite().all():
        what = f"with this adapter the output of {world.card.name} is NaN or infinite"
        raise AdapterError(what, where=str(folder), hint="Its values are too large: correct its alpha or train again.")
    return change


def _velocity(world: World) -> Tensor:
    config, draw = world.denoiser.config, torch.Generator().manual_seed(0)
    width = config.encoder_hidden_states_channels if config.use_crossattn_projection else config.text_embed_dim
    x_BCTHW = torch.randn((1, config.out_channels, FRAMES, SIDE, SIDE), generator=draw).to(world.device)
    text_BND = torch.randn((1, TOKENS, width), generator=draw).to(world.device)
    sigma_BT = torch.full((1, FRAMES), SIGMA, device=world.device)
    return world.velocity(x_BCTHW, sigma_BT, torch.zeros_like(sigma_BT), text_BND)
