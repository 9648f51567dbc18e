"""The speedup of each exact optimization: the plain form and ours, interleaved, on the pocket world.

The tests of `models/` and `adapters/` show that both sides compute the same.

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

from benchmarks.ratio import ROUNDS, Ratio, time_in_turn
from worldtune.adapters.inject import ADAPTER, inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.progress import Progress, silent
from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.evaluation.report.figures import figure
from worldtune.models.load import open_world
from worldtune.models.transformer.denoiser import TextKeysValues, forward
from worldtune.models.vae.shapes import SPATIAL, latent_frames
from worldtune.models.world import World

BATCH, PARTS = 8, 4


@dataclass(frozen=True)
class Batch:
    """A training batch: latents, noise levels per frame, one known frame, projected text."""

    x_BCTHW: Tensor
    sigma_BT: Tensor
    cond_mask_BT: Tensor
    text_BND: Tensor


def measure(*, quick: bool, on_part: Progress = silent, base: str = "pocket") -> list[dict[str, Any]]:
    """Measure the speedup of each optimization over the plain form; `quick` takes two rounds of one clip."""
    rows = []
    ratios = _ratios(base, BATCH if not quick else 1, ROUNDS if not quick else 2)
    for done, (name, ratio) in enumerate(ratios, start=1):
        note = f"{name} ({ratio.plain * 1e3:.0f} → {ratio.fast * 1e3:.0f} ms)"
        rows.append(figure(note, ratio.speedup, "×", "higher", None if quick else 1.0))
        on_part(done, PARTS, name)
    return rows


def _ratios(base: str, count: int, rounds: int) -> Iterator[tuple[str, Ratio]]:
    world = open_world(base)
    batch = draw_batch(world, count)
    yield "denoiser: forward, against diffusers'", denoiser_ratio(world, batch, rounds)
    yield "codec: decode whole clips, against chunks", decode_ratio(world, batch, rounds)
    yield "codec: encode whole clips, against chunks", encode_ratio(world, batch, rounds)
    yield "DoRA: step with the factored norm, against peft's", dora_ratio(world, batch, rounds)


def draw_batch(world: World, count: int) -> Batch:
    """Return `count` clips of noise in the base's size."""
    card, generator = world.card, torch.Generator().manual_seed(0)
    frames = latent_frames(card.frames)
    shape = (count, world.denoiser.config.out_channels, frames, card.height // SPATIAL, card.width // SPATIAL)
    x_BCTHW = torch.randn(shape, generator=generator)
    sigma_BT = torch.rand(count, 1, generator=generator).expand(-1, frames)
    text_BND = world.no_text().expand(count, -1, -1)
    return Batch(x_BCTHW, sigma_BT, conditioning_mask(torch.ones(count, dtype=torch.long), frames), text_BND)


def diffusers_twin(denoiser: CosmosTransformer3DModel) -> CosmosTransformer3DModel:
    """Return a model with the same weights that takes projected text, and the padding mask as another channel."""
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
    """Return v_BCTHW of diffusers' forward."""
    known = batch.cond_mask_BT[:, None, :, None, None].expand(-1, -1, -1, *batch.x_BCTHW.shape[3:])
    channels = torch.cat([batch.x_BCTHW, known], 1)
    padding = torch.zeros_like(known) if twin.config.in_channels > channels.shape[1] else None
    sigma = batch.sigma_BT[:, None, :, None, None]
    return twin(channels, sigma, batch.text_BND, condition_mask=padding, return_dict=False)[0]


def our_forward(denoiser: CosmosTransformer3DModel, batch: Batch, text: Tensor | TextKeysValues) -> Tensor:
    return forward(denoiser, batch.x_BCTHW, batch.sigma_BT, batch.cond_mask_BT, text)


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
    """Time forward, backward and an optimizer step, after which both forms recompute the norm."""
    parameters = inject(world.denoiser, AdapterSpec(method="dora", rank=16), seed=0)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        our_forward(world.denoiser, batch, batch.text_BND).square().mean().backward()
        optimizer.step()

    ours = {layer: layer.lora_variant[ADAPTER] for layer in dora_layers(world.denoiser)}
    pefts = dict.fromkeys(ours, DoraLinearVariant())

    def step_with(variants: Mapping[LoraLayer, DoraLinearVariant]) -> None:
        use_variants(variants)
        step()

    return time_in_turn(lambda: step_with(pefts), lambda: step_with(ours), rounds)


def dora_layers(denoiser: nn.Module) -> list[LoraLayer]:
    """Return every linear layer with a DoRA."""
    return [module for module in denoiser.modules() if isinstance(module, LoraLayer) and module.lora_variant]


def use_variants(variants: Mapping[LoraLayer, DoraLinearVariant]) -> None:
    """Make each layer compute its DoRA in the given form."""
    for layer, variant in variants.items():
        layer.lora_variant[ADAPTER] = variant
