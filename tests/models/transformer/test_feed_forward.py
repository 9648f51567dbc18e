"""The MLP that saves less for backward gives the same bits as diffusers' forward."""

import pytest
import torch
from diffusers.models.attention import FeedForward
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor

from benchmarks.training.allocation import retained_bytes
from worldtune.adapters.layers.factored_dora import use_memory_efficient_layers
from worldtune.models.transformer.feed_forward import feed_forward

TOKENS, WIDTH = 96, 64


@pytest.fixture(params=["lora", "dora", "lora of the first alone", "no adapter"])
def mlp(request: pytest.FixtureRequest) -> FeedForward:
    torch.manual_seed(0)
    mlp = FeedForward(WIDTH, mult=4, activation_fn="gelu", bias=False).requires_grad_(False)
    if request.param != "no adapter":
        targets = ["net.0.proj"] if "alone" in request.param else ["net.0.proj", "net.2"]
        use_dora = request.param == "dora"
        config = LoraConfig(r=4, target_modules=targets, use_dora=use_dora, init_lora_weights=False)
        inject_adapter_in_model(config, mlp)
        use_memory_efficient_layers(mlp, "default")
    return mlp


def gradients(mlp: FeedForward, y: Tensor, x: Tensor) -> list[Tensor]:
    wanted = [x, *(parameter for parameter in mlp.parameters() if parameter.requires_grad)]
    return list(torch.autograd.grad(y.square().sum(), wanted))


def test_output_and_gradients_equal_diffusers_to_the_bit(mlp: FeedForward) -> None:
    x = torch.randn(2, 3, TOKENS, WIDTH, requires_grad=True)
    mine, theirs = feed_forward(mlp, x), mlp(x)
    assert mine.equal(theirs)
    pairs = zip(gradients(mlp, mine, x), gradients(mlp, theirs, x), strict=True)
    assert all(gradient.equal(expected) for gradient, expected in pairs)
    with torch.no_grad():
        assert feed_forward(mlp, x).equal(theirs)


def test_activations_are_not_saved(mlp: FeedForward) -> None:
    trained = any(parameter.requires_grad for parameter in mlp.net[2].parameters())
    x = torch.randn(TOKENS, WIDTH, requires_grad=True)
    saved = retained_bytes(lambda: mlp(x)) - retained_bytes(lambda: feed_forward(mlp, x))
    assert saved == (4 * x.nbytes if trained else 0)
