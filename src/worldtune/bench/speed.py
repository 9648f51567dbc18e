"""What each exact optimisation is worth: the plain form and ours, interleaved, on the pocket world.

That both sides compute the same is shown by the tests of `worlds/` and `adapters/`.

Shapes: B clips, C channels, T latent frames, H×W latent pixels, N text tokens, D text width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn

from worldtune.adapters.inject import ADAPTER, inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.bench.ratio import ROUNDS, Ratio, time_in_turn
from worldtune.diffusion.conditioning import known_frames
from worldtune.evaluation.report.figures import figure
from worldtune.worlds.denoiser import ReadText, denoise
from worldtune.worlds.latent_size import SPATIAL, latent_frames
from worldtune.worlds.load import open_world
from worldtune.worlds.world import World

BATCH = 8


@dataclass(frozen=True)
class Batch:
    """A training batch: latents, noise levels a frame, one known frame, projected text."""

    x_BCTHW: Tensor
    sigma_BT: Tensor
    known_BT: Tensor
    text_BND: Tensor


def measure(base: str, *, quick: bool) -> list[dict[str, Any]]:
    """One figure an optimisation: how many times faster than the plain form; `quick` takes two rounds of one clip."""
    rows = []
    for name, ratio in _ratios(base, BATCH if not quick else 1, ROUNDS if not quick else 2):
        note = f"{name} ({ratio.plain * 1e3:.0f} → {ratio.fast * 1e3:.0f} ms)"
        rows.append(figure(note, ratio.speedup, "×", "higher", None if quick else 1.0))
    return rows


def _ratios(base: str, count: int, rounds: int) -> Iterator[tuple[str, Ratio]]:
    world = open_world(base)
    batch = draw_batch(world, count)
    yield "denoiser: forward, against diffusers'", denoiser_ratio(world, batch, rounds)
    yield "codec: decode whole clips, against chunks", decode_ratio(world, batch, rounds)
    yield "codec: encode whole clips, against chunks", encode_ratio(world, batch, rounds)
    yield "DoRA: step with the factored norm, against peft's", dora_ratio(world, batch, rounds)


def draw_batch(world: World, count: int) -> Batch:
    """`count` clips of noise in the base's own size."""
    card, generator = world.card, torch.Generator().manual_seed(0)
    frames = latent_frames(card.frames)
    shape = (count, world.denoiser.config.out_channels, frames, card.height // SPATIAL, card.width // SPATIAL)
    x_BCTHW = torch.randn(shape, generator=generator)
    sigma_BT = torch.rand(count, 1, generator=generator).expand(-1, frames)
    text_BND = world.no_text().expand(count, -1, -1)
    return Batch(x_BCTHW, sigma_BT, known_frames(torch.ones(count, dtype=torch.long), frames), text_BND)


def diffusers_twin(denoiser: CosmosTransformer3DModel) -> CosmosTransformer3DModel:
    """The same weights in a model that is given text projected already and its padding mask as one more channel."""
    config = denoiser.config
    twin = CosmosTransformer3DModel.from_config(
        dict(config)
        | {"use_crossattn_projection": False, "concat_padding_mask": False}
        | {"in_channels": config.in_channels + config.concat_padding_mask}
    )
    weights = denoiser.state_dict()
    twin.load_state_dict({name: weights[name] for name in twin.state_dict()})
    return twin.eval().requires_grad_(False)


def diffusers_forward(twin: CosmosTransformer3DModel, batch: Batch) -> Tensor:
    """v_BCTHW by diffusers' own forward."""
    known = batch.known_BT[:, None, :, None, None].expand(-1, -1, -1, *batch.x_BCTHW.shape[3:])
    channels = torch.cat([batch.x_BCTHW, known], 1)
    padding = torch.zeros_like(known) if twin.config.in_channels > channels.shape[1] else None
    sigma = batch.sigma_BT[:, None, :, None, None]
    return twin(channels, sigma, batch.text_BND, condition_mask=padding, return_dict=False)[0]


def our_forward(denoiser: CosmosTransformer3DModel, batch: Batch, text: Tensor | ReadText) -> Tensor:
    return denoise(denoiser, batch.x_BCTHW, batch.sigma_BT, batch.known_BT, text)


def denoiser_ratio(world: World, batch: Batch, rounds: int) -> Ratio:
    twin = diffusers_twin(world.denoiser)
    with torch.no_grad():
        return time_in_turn(
            lambda: diffusers_forward(twin, batch), lambda: our_forward(world.denoiser, batch, batch.text_BND), rounds
        )


def decode_ratio(world: World, batch: Batch, rounds: int) -> Ratio:
    codec = world.codec
    with torch.no_grad():
        return time_in_turn(
            lambda: codec.vae.decode(batch.x_BCTHW), lambda: codec.whole_clip.decode(batch.x_BCTHW), rounds
        )


def encode_ratio(world: World, batch: Batch, rounds: int) -> Ratio:
    codec = world.codec
    x_BCTHW = codec.decode_float(batch.x_BCTHW)
    with torch.no_grad():
        return time_in_turn(lambda: codec.vae.encode(x_BCTHW), lambda: codec.whole_clip.encode(x_BCTHW), rounds)


def dora_ratio(world: World, batch: Batch, rounds: int) -> Ratio:
    """Forward, backward and a step of the optimiser, which makes both forms compute the norm anew."""
    parameters = inject(world.denoiser, AdapterSpec(method="dora", rank=16), seed=0)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        our_forward(world.denoiser, batch, batch.text_BND).square().mean().backward()
        optimizer.step()

    ours = {layer: layer.lora_variant[ADAPTER] for layer in dora_layers(world.denoiser)}
    pefts = dict.fromkeys(ours, DoraLinearVariant())

    def with_forms(forms: Mapping[LoraLayer, DoraLinearVariant]) -> None:
        use_forms(forms)
        step()

    return time_in_turn(lambda: with_forms(pefts), lambda: with_forms(ours), rounds)


def dora_layers(denoiser: nn.Module) -> list[LoraLayer]:
    """Every linear layer that carries a DoRA."""
    return [module for module in denoiser.modules() if isinstance(module, LoraLayer) and module.lora_variant]


def use_forms(forms: Mapping[LoraLayer, DoraLinearVariant]) -> None:
    """Let each layer compute its DoRA in the given form."""
    for layer, form in forms.items():
        layer.lora_variant[ADAPTER] = form
