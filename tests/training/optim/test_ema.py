"""The averages against their recursion in float64."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

from support.training import recipe_data, small_recipe
from worldtune.core.settings import parse_model
from worldtune.errors import RecipeError
from worldtune.training.optim.ema import Averages, Ema, init_ema, update_ema
from worldtune.training.recipe import Recipe

BASE, VIDEOS = Path("base"), Path("videos")
GAMMAS, BETAS = st.floats(0.05, 30), st.floats(0.01, 1, exclude_max=True)


def walk(ema: Ema, updates: int) -> tuple[Averages, list[Tensor]]:
    """Return the averages after some updates of random weights, and the weights after each in float64."""
    generator = torch.Generator().manual_seed(updates)
    parameters = {"a": nn.Parameter(torch.full((3, 2), 1e3)), "b": nn.Parameter(torch.full((5,), -1e3))}
    averages, weights = init_ema(ema, parameters), []
    for update in range(1, updates + 1):
        with torch.no_grad():
            for parameter in parameters.values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        update_ema(ema, averages, parameters, update)
        weights.append(flat(parameters))
    return averages, weights


def flat(tensors: dict[str, Any]) -> Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in tensors.values()])


@given(GAMMAS, st.integers(1, 30))
def test_power_average_follows_its_recursion(gamma: float, updates: int) -> None:
    ema = Ema(power=[gamma])
    averages, weights = walk(ema, updates)
    expected = torch.zeros_like(weights[0])
    for t, its in enumerate(weights, 1):
        beta = (1 - 1 / t) ** (gamma + 1)
        expected = beta * expected + (1 - beta) * its
    torch.testing.assert_close(flat(averages[ema.names[0]]), expected, rtol=1e-5, atol=1e-5)


@given(st.floats(0.01, 0.9999), st.integers(1, 30))
def test_decay_average_follows_its_recursion(beta: float, updates: int) -> None:
    ema = Ema(decay=[beta])
    averages, weights = walk(ema, updates)
    expected = weights[0]
    for its in weights[1:]:
        expected = beta * expected + (1 - beta) * its
    torch.testing.assert_close(flat(averages[ema.names[0]]), expected, rtol=1e-5, atol=1e-5)


def test_power_average_spans_a_constant_share_of_the_run() -> None:
    """Of weights that grow as t it is the mean of the density (γ + 1)tᵞ: T·(γ + 1)/(γ + 2), at every T."""
    ema, gamma = Ema(power=[6.94]), 6.94
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    averages = init_ema(ema, {"a": parameter})
    for update in range(1, 2001):
        parameter.data.fill_(update)
        update_ema(ema, averages, {"a": parameter}, update)
        if update in (200, 2000):
            share = averages["power-6.94"]["a"].item() / update
            assert share == pytest.approx((gamma + 1) / (gamma + 2), rel=2 / update)


@given(st.lists(GAMMAS, max_size=3), st.lists(BETAS, max_size=3))
def test_the_first_update_copies_the_weights(power: list[float], decay: list[float]) -> None:
    averages, weights = walk(Ema(power=power, decay=decay), 1)
    assert all(torch.equal(flat(average), weights[0]) for average in averages.values())


def test_averages_do_not_share_memory_with_weights() -> None:
    parameter = nn.Parameter(torch.ones(2))
    averages = init_ema(Ema(power=[1.0], decay=[0.5]), {"a": parameter})
    parameter.data.zero_()
    kept = [average["a"] for average in averages.values()]
    assert all(torch.equal(tensor, torch.ones(2)) and not tensor.requires_grad for tensor in kept)
    kept[0].zero_()
    assert torch.equal(kept[1], torch.ones(2))


def test_averages_have_distinct_names() -> None:
    ema = Ema(power=[6.94, 16.97], decay=[0.999, 0.9999])
    assert ema.names == ["power-6.94", "power-16.97", "decay-0.999", "decay-0.9999"]
    assert init_ema(ema, {"a": nn.Parameter(torch.ones(1))}).keys() == set(ema.names)
    assert Ema().names == []


@example([6.94], [0.9999999])
@given(st.lists(GAMMAS, max_size=2), st.lists(BETAS, max_size=2))
def test_beta_follows_the_recipe_exactly(power: list[float], decay: list[float]) -> None:
    """Names may round the numbers, β does not."""
    ema, update = Ema(power=power, decay=decay), 7
    expected = [(1 - 1 / update) ** (gamma + 1) for gamma in power] + decay
    assert [ema.beta(name, update) for name in ema.names] == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert all(ema.beta(name, update) < 1 for name in ema.names), "an average that never moves"


@pytest.mark.parametrize(
    "ema",
    [
        {"power": [0]}, {"power": [-1.5]}, {"power": [6.94, 0]}, {"power": [float("nan")]}, {"power": [float("inf")]},
        {"decay": [0]}, {"decay": [1]}, {"decay": [1.5]}, {"decay": [-0.1]}, {"decay": [float("nan")]},
        {"decay": 0.999}, {"power": ["much"]}, {"gamma": [6.94]},
    ],
    ids=str,
)  # fmt: skip
def test_invalid_average_is_an_error(ema: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=r"'?train\.ema") as refused:
        parse_model(Recipe, recipe_data(BASE, VIDEOS, ema=ema), "test")
    assert "\n" not in str(refused.value)


def test_recipe_sets_the_averages() -> None:
    assert small_recipe(BASE, VIDEOS).train.ema.names == []
    assert small_recipe(BASE, VIDEOS, ema={"power": [6.94], "decay": [0.9]}).train.ema.names == [
        "power-6.94", "decay-0.9",
    ]  # fmt: skip
