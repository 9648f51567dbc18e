"""The differences between our DoRA and peft's, and between a new DoRA and its base.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from diffusers import CosmosTransformer3DModel
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor

from benchmarks.speed import dora_layers, draw_batch, our_forward, use_variants
from benchmarks.training.stock_training import add_stock_adapter, stock_velocity
from worldtune.adapters.inject import ADAPTER, adapter_parameters, inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.models.load import open_world

SPEC = AdapterSpec(method="dora", rank=16)
DOUBLE = torch.float64


def layer_difference() -> float:
    """Return the largest relative difference from peft, in float64, of one linear's output and gradients."""
    denoiser = _trained_denoiser()
    layer = dora_layers(denoiser)[0]
    x_BTI = torch.randn(2, 50, layer.in_features, dtype=DOUBLE, requires_grad=True)
    leaves = [x_BTI, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    return _largest_difference(denoiser, lambda: layer(x_BTI), leaves)


def denoiser_difference() -> float:
    """Return the same for the pocket denoiser: its velocity, and the gradients of latents and adapter."""
    denoiser = _trained_denoiser()
    batch = draw_batch(open_world("pocket", dtype=DOUBLE), 1)
    text_BND = torch.randn(batch.text_BND.shape, dtype=DOUBLE)  # different tokens, so that attention has gradients
    batch = replace(batch, x_BCTHW=batch.x_BCTHW.to(DOUBLE).requires_grad_(), text_BND=text_BND)
    leaves = [batch.x_BCTHW, *adapter_parameters(denoiser).values()]
    return _largest_difference(denoiser, lambda: our_forward(denoiser, batch, batch.text_BND), leaves)


def _trained_denoiser() -> CosmosTransformer3DModel:
    """Return the pocket denoiser in float64 with a DoRA that differs from its initial values."""
    denoiser = open_world("pocket", dtype=DOUBLE).denoiser
    parameters, generator = inject(denoiser, SPEC, seed=0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in parameters.items():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.mul_(1 + 0.1 * noise) if "magnitude" in name else parameter.add_(0.02 * noise)
    return denoiser.double()


def _largest_difference(
    denoiser: CosmosTransformer3DModel, compute: Callable[[], Tensor], leaves: Sequence[Tensor]
) -> float:
    """Return the largest difference of output and gradients between both forms, relative to each's largest value."""
    ours = {layer: layer.lora_variant[ADAPTER] for layer in dora_layers(denoiser)}
    found = _output_and_gradients(compute, leaves)
    use_variants(dict.fromkeys(ours, DoraLinearVariant()))
    reference = _output_and_gradients(compute, leaves)
    pairs = zip(found, reference, strict=True)
    return max(((mine - theirs).abs().max() / theirs.abs().max()).item() for mine, theirs in pairs)


def _output_and_gradients(compute: Callable[[], Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    out = compute()
    weights = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(2))
    return [out.detach(), *torch.autograd.grad(out, leaves, weights)]


@torch.no_grad()
def initial_change() -> float:
    """Return the largest change of the base's bf16 velocity by a new DoRA of ours."""
    world = open_world("pocket", dtype=torch.bfloat16)
    batch = draw_batch(world, 1)
    inputs = batch.x_BCTHW, batch.sigma_BT, batch.cond_mask_BT, batch.text_BND
    base_BCTHW = world.velocity(*inputs)
    inject(world.denoiser, SPEC, seed=0)
    return (world.velocity(*inputs) - base_BCTHW).abs().max().item()


@torch.no_grad()
def initial_stock_change() -> float:
    """Return ‖v − v_base‖/‖v_base‖ of a new DoRA as diffusers' example makes it, in bf16 under autocast."""
    world = open_world("pocket", dtype=torch.bfloat16)
    batch = draw_batch(world, 1)
    embeddings_BNE = world.text.embed(["The robot arm moves."])
    inputs = batch.x_BCTHW, batch.sigma_BT, batch.cond_mask_BT, embeddings_BNE
    base_BCTHW = stock_velocity(world.denoiser, *inputs)
    add_stock_adapter(world.denoiser, SPEC)
    change_BCTHW = stock_velocity(world.denoiser, *inputs) - base_BCTHW
    return (change_BCTHW.norm() / base_BCTHW.norm()).item()
