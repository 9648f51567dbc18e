"""Parity with NVIDIA's action-conditioned network, whose formula is written out here from its public source.

Source: github.com/nvidia-cosmos/cosmos-predict2.5, `action_conditioned_minimal_v1_lvg_dit.py`, class
`ActionChunkConditionedMinimalV1LVGDiT`. Shapes: B clips, J latent frames, D width of the denoiser.
"""

import pytest
import torch
import torch.nn.functional as F
from diffusers import CosmosTransformer3DModel
from torch import Tensor, nn

from support.stock import stock_forward
from support.tiny_world import make_denoiser, randomize
from worldtune.diffusion.action_embedder import (
    EMBEDDERS,
    ActionInputs,
    add_embedders,
    embedder_tensors,
    has_embedders,
    remove_embedders,
)
from worldtune.models.transformer.denoiser import forward, project_text

ACTION_DIM, FRAMES, WIDTH = 7, 3, 48
NAMES = [f"{mlp}.{layer}.{part}" for mlp in EMBEDDERS for layer in ("fc1", "fc2") for part in ("weight", "bias")]


class NvidiaTimeEmbed(nn.Module):
    """diffusers' time embedding with NVIDIA's action embedding added, from raw actions (B, 4(J−1), A)."""

    def __init__(self, model: CosmosTransformer3DModel, action: Tensor, cond_mask_BJ: Tensor) -> None:
        super().__init__()
        self.base = model.time_embed
        action = action.reshape(len(action), action.shape[1] // 4, -1)  # b (t 4) d -> b t (4 d)
        self.added = []
        for name in EMBEDDERS:
            mlp = model.get_submodule(name)
            hidden = F.gelu(F.linear(action, mlp.fc1.weight, mlp.fc1.bias), approximate="tanh")
            embedding = F.linear(hidden, mlp.fc2.weight, mlp.fc2.bias)
            embedding = torch.cat([torch.zeros_like(embedding[:, :1]), embedding], 1)
            self.added.append(embedding * (1 - cond_mask_BJ)[:, :, None])

    def forward(self, hidden_states: Tensor, timestep: Tensor) -> tuple[Tensor, Tensor]:
        proj = self.base.time_proj(timestep).type_as(hidden_states)
        temb = self.base.t_embedder(proj)
        return temb + self.added[1].flatten(0, 1), self.base.norm(proj + self.added[0].flatten(0, 1))


@pytest.fixture(scope="module")
def model() -> CosmosTransformer3DModel:
    denoiser = make_denoiser()
    add_embedders(denoiser, 4 * ACTION_DIM, 64, WIDTH)
    return denoiser


def inputs(known: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x_BCTHW = torch.randn(2, 16, FRAMES, 4, 4, generator=generator)
    cond_mask_BJ = torch.zeros(2, FRAMES)
    cond_mask_BJ[:, :known] = 1
    sigma_BJ = torch.rand(2, FRAMES, generator=generator)
    embeddings_BNE = torch.randn(2, 8, 128, generator=generator)
    return (
        x_BCTHW,
        sigma_BJ,
        cond_mask_BJ,
        embeddings_BNE,
        torch.randn(2, 4 * (FRAMES - 1), ACTION_DIM, generator=generator),
    )


def as_inputs(action: Tensor) -> ActionInputs:
    rows = action.reshape(len(action), FRAMES - 1, -1)
    given_BJ = torch.ones(len(action), FRAMES)
    given_BJ[:, 0] = 0
    return ActionInputs(torch.cat([torch.zeros_like(rows[:, :1]), rows], 1), given_BJ)


def test_zero_last_layers_leave_the_base_unchanged(model: CosmosTransformer3DModel) -> None:
    x_BCTHW, sigma_BJ, cond_mask_BJ, embeddings_BNE, action = inputs(1)
    text_BND = project_text(model, embeddings_BNE)
    with torch.no_grad():
        base = forward(model, x_BCTHW, sigma_BJ, cond_mask_BJ, text_BND)
        acted = forward(model, x_BCTHW, sigma_BJ, cond_mask_BJ, text_BND, actions=as_inputs(action))
    assert torch.equal(base, acted)


@pytest.mark.parametrize("known", [0, 1, 2])
def test_velocity_equals_nvidias_network(model: CosmosTransformer3DModel, known: int) -> None:
    for name in EMBEDDERS:
        randomize(model.get_submodule(name), seed=9)
    x_BCTHW, sigma_BJ, cond_mask_BJ, embeddings_BNE, action = inputs(known)
    text_BND = project_text(model, embeddings_BNE)
    with torch.no_grad():
        ours = forward(model, x_BCTHW, sigma_BJ, cond_mask_BJ, text_BND, actions=as_inputs(action))
        plain = forward(model, x_BCTHW, sigma_BJ, cond_mask_BJ, text_BND)
        own, model.time_embed = model.time_embed, NvidiaTimeEmbed(model, action, cond_mask_BJ)
        theirs = stock_forward(model, x_BCTHW, sigma_BJ, cond_mask_BJ, embeddings_BNE)
        model.time_embed = own
    assert (ours - theirs).abs().max() < 2e-5
    assert (ours - plain).abs().max() > 1e-2


def test_dropped_actions_equal_no_actions(model: CosmosTransformer3DModel) -> None:
    for name in EMBEDDERS:
        randomize(model.get_submodule(name), seed=9)
    x_BCTHW, sigma_BJ, cond_mask_BJ, embeddings_BNE, action = inputs(1)
    text_BND = project_text(model, embeddings_BNE)
    dropped = as_inputs(action).without(torch.tensor([True, False]))
    with torch.no_grad():
        half = forward(model, x_BCTHW, sigma_BJ, cond_mask_BJ, text_BND, actions=dropped)
        plain = forward(model, x_BCTHW, sigma_BJ, cond_mask_BJ, text_BND)
    assert torch.equal(half[0], plain[0])
    assert not torch.equal(half[1], plain[1])


def test_tensors_have_nvidias_names(model: CosmosTransformer3DModel) -> None:
    assert sorted(embedder_tensors(model)) == sorted(NAMES)
    assert model.get_submodule(EMBEDDERS[1]).fc2.weight.shape == (3 * WIDTH, 64)
    other = make_denoiser()
    assert not has_embedders(other)
    add_embedders(other, 8, 4, WIDTH)
    remove_embedders(other)
    assert not has_embedders(other)
    assert not embedder_tensors(other)
