from pathlib import Path

import pytest
import torch
from torch import Tensor

from support.stock import stock_forward
from support.tiny_world import TEXT_WIDTH, make_denoiser
from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.diffusion.conditioning import conditioning_mask
from worldtune.models.load import open_world
from worldtune.models.memory import chunked
from worldtune.models.memory.activation_checkpoint import ActivationCheckpoint, CheckpointMode, to_host
from worldtune.models.transformer.denoiser import Execution, cache_text_kv, forward, keep_modulation_fp32, project_text
from worldtune.models.world import World


@pytest.fixture
def world(tiny_world: Path) -> World:
    return open_world(str(tiny_world))


def inputs(k: list[int], frames: int = 3, height: int = 4, width: int = 6) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x, σ per frame, the mask of known frames and embeddings of len(k) clips."""
    generator = torch.Generator().manual_seed(0)
    x_BCTHW = torch.randn(len(k), 16, frames, height, width, generator=generator)
    sigma_BT = torch.rand(len(k), frames, generator=generator)
    embeddings_BNE = torch.randn(len(k), 5, 128, generator=generator)
    return x_BCTHW, sigma_BT, conditioning_mask(torch.tensor(k), frames), embeddings_BNE


@pytest.mark.parametrize("k", [[0], [1], [2], [2, 0, 1]])
def test_equals_diffusers(world: World, k: list[int]) -> None:
    x_BCTHW, sigma_BT, cond_mask_BT, embeddings_BNE = inputs(k)
    with torch.no_grad():
        ours = forward(world.denoiser, x_BCTHW, sigma_BT, cond_mask_BT, project_text(world.denoiser, embeddings_BNE))
    theirs = stock_forward(world.denoiser, x_BCTHW, sigma_BT, cond_mask_BT, embeddings_BNE)
    assert ours.shape == x_BCTHW.shape
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() < 2e-5


@pytest.mark.parametrize("wrong", ["sigma", "known", "text"])
def test_every_input_affects_the_output(world: World, wrong: str) -> None:
    """Otherwise the comparison with diffusers would prove little."""
    x_BCTHW, sigma_BT, cond_mask_BT, embeddings_BNE = inputs([1, 1])
    right = stock_forward(world.denoiser, x_BCTHW, sigma_BT, cond_mask_BT, embeddings_BNE)
    if wrong == "sigma":
        sigma_BT = sigma_BT.flip(1)
    elif wrong == "known":
        cond_mask_BT = 1 - cond_mask_BT
    else:
        embeddings_BNE = embeddings_BNE.flip(0)
    assert (right - stock_forward(world.denoiser, x_BCTHW, sigma_BT, cond_mask_BT, embeddings_BNE)).abs().max() > 1e-2


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize(
    "how",
    [
        ActivationCheckpoint("full"),
        ActivationCheckpoint("selective"),
        ActivationCheckpoint("full", every=2),
        ActivationCheckpoint("full", offload_input=to_host),
    ],
)
def test_recomputed_blocks_have_the_same_gradients(world: World, method: str, how: ActivationCheckpoint) -> None:
    parameters = inject(world.denoiser, AdapterSpec(method=method, rank=4), seed=0)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    x_BCTHW, sigma_BT, cond_mask_BT, embeddings_BNE = inputs([0, 1])
    text_BND = project_text(world.denoiser, embeddings_BNE)
    gradients = []
    for activation_checkpoint in (ActivationCheckpoint(), how):
        v_BCTHW = forward(
            world.denoiser,
            x_BCTHW,
            sigma_BT,
            cond_mask_BT,
            text_BND,
            Execution(activation_checkpoint=activation_checkpoint),
        )
        v_BCTHW.square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in parameters.values()])
        world.denoiser.zero_grad()
    assert all(gradient.abs().max() > 0 for gradient in gradients[0])
    assert all(torch.equal(plain, again) for plain, again in zip(*gradients, strict=True))


@pytest.mark.parametrize("method", [None, "lora", "dora"])
def test_cached_text_gives_the_same_velocity(world: World, method: str | None) -> None:
    if method:
        for parameter in inject(world.denoiser, AdapterSpec(method=method, rank=4), seed=0).values():  # type: ignore[arg-type]
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    x_BCTHW, sigma_BT, cond_mask_BT, embeddings_BNE = inputs([0, 2])
    with torch.no_grad():
        text_BND = project_text(world.denoiser, embeddings_BNE)
        once = forward(world.denoiser, x_BCTHW, sigma_BT, cond_mask_BT, cache_text_kv(world.denoiser, text_BND))
        every_time = forward(world.denoiser, x_BCTHW, sigma_BT, cond_mask_BT, text_BND)
        other = forward(
            world.denoiser, x_BCTHW, sigma_BT, cond_mask_BT, cache_text_kv(world.denoiser, text_BND.flip(0))
        )
    assert torch.equal(once, every_time)
    assert (other - once).abs().max() > 1e-2


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("mode", ["none", "full", "selective"])
def test_chunks_give_the_same_outputs_and_gradients(
    monkeypatch: pytest.MonkeyPatch, method: str, mode: CheckpointMode
) -> None:
    denoiser = make_denoiser().double()
    parameters = inject(denoiser, AdapterSpec(method=method, rank=2), seed=0)
    for parameter in parameters.values():
        parameter.data = parameter.data.double() + 0.05
    generator = torch.Generator().manual_seed(0)
    x_BCTHW = torch.randn(2, 16, 3, 8, 8, generator=generator).double()
    sigma_BT, cond_mask_BT = torch.rand(2, 3, generator=generator).double(), torch.eye(3)[:2].double()
    text_BND = torch.randn(2, 5, TEXT_WIDTH, generator=generator).double()

    def outputs_and_gradients() -> list[torch.Tensor]:
        denoiser.zero_grad()
        v_BCTHW = forward(denoiser, x_BCTHW, sigma_BT, cond_mask_BT, text_BND, Execution(activation_checkpoint=how))
        v_BCTHW.square().mean().backward()
        return [v_BCTHW.detach(), *(parameter.grad.clone() for parameter in parameters.values())]

    how = ActivationCheckpoint()
    expected = outputs_and_gradients()
    monkeypatch.setattr(chunked, "WHOLE", 1000)
    monkeypatch.setattr(chunked, "CHUNK", 1000)
    how = ActivationCheckpoint(mode)
    for found, whole in zip(outputs_and_gradients(), expected, strict=True):
        torch.testing.assert_close(found, whole, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(
            forward(denoiser, x_BCTHW, sigma_BT, cond_mask_BT, text_BND), expected[0], rtol=1e-9, atol=1e-12
        )


@torch.no_grad()
def test_fp32_modulation_reduces_rounding(tiny_world: Path) -> None:
    """This holds for a bf16 base; for an fp32 base it changes no bit."""
    whole, half = open_world(str(tiny_world)), open_world(str(tiny_world), dtype=torch.bfloat16)
    x_BCTHW, sigma_BT, cond_mask_BT, embeddings_BNE = inputs([0, 1, 2, 1])
    text_BND = project_text(whole.denoiser, embeddings_BNE)
    exact = whole.velocity(x_BCTHW, sigma_BT, cond_mask_BT, text_BND)
    rounded = half.velocity(x_BCTHW, sigma_BT, cond_mask_BT, text_BND)
    keep_modulation_fp32(half.denoiser)
    keep_modulation_fp32(whole.denoiser)
    assert half.dtype == torch.bfloat16
    precise = half.velocity(x_BCTHW, sigma_BT, cond_mask_BT, text_BND)
    assert (precise - exact).norm() < 0.9 * (rounded - exact).norm()
    assert torch.equal(whole.velocity(x_BCTHW, sigma_BT, cond_mask_BT, text_BND), exact)


@pytest.mark.slow
@pytest.mark.parametrize("activation_checkpoint", [ActivationCheckpoint(), ActivationCheckpoint("full")])
def test_compiled_blocks_compute_the_same(world: World, activation_checkpoint: ActivationCheckpoint) -> None:
    parameters = inject(world.denoiser, AdapterSpec(rank=4), seed=0)
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    x_BCTHW, sigma_BT, cond_mask_BT, embeddings_BNE = inputs([0, 1])
    text_BND = project_text(world.denoiser, embeddings_BNE)
    found = []
    for compiled in (False, True):
        how = Execution(activation_checkpoint=activation_checkpoint, compiled=compiled)
        v_BCTHW = forward(world.denoiser, x_BCTHW, sigma_BT, cond_mask_BT, text_BND, how)
        v_BCTHW.square().sum().backward()
        found.append([v_BCTHW.detach(), *(parameter.grad.clone() for parameter in parameters.values())])
        world.denoiser.zero_grad()
    for ours, plain in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4 * plain.abs().max().item())
