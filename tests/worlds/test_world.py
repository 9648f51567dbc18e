"""A base whose parts took turns while clips were encoded, and then settles to be trained."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.training.draws import training_draws
from worldtune.training.objective import loss_per_clip
from worldtune.training.recipe import Train
from worldtune.training.state import TrainingState
from worldtune.worlds.load import open_world
from worldtune.worlds.offload import Offload
from worldtune.worlds.world import World

META = "meta"  # where shapes are computed with, and no numbers: a tensor left behind shows
PROMPTS = ["the square goes right", "the square goes down"]


def devices(module: nn.Module) -> set[str]:
    return {tensor.device.type for tensor in (*module.parameters(), *module.buffers())}


def use_encoders(world: World) -> tuple[Tensor, Tensor]:
    """z_BCTHW and text_BND of two clips: each part has its turn."""
    frames_BTHWC = torch.arange(2 * 9 * 32 * 32 * 3, dtype=torch.int64).view(2, 9, 32, 32, 3)
    return world.encode((frames_BTHWC % 251).to(torch.uint8)), world.encode_prompts(PROMPTS)


def predict(world: World) -> None:
    x_BCTHW, sigma_BT = torch.zeros(1, 16, 3, 4, 4, device=world.device), torch.zeros(1, 3, device=world.device)
    world.velocity(x_BCTHW, sigma_BT, sigma_BT, world.no_text())


@pytest.mark.parametrize("offload", ["sequential", "group"])
def test_a_settled_base_is_on_its_device_and_stays_there(tiny_world: Path, offload: Offload) -> None:
    world = open_world(str(tiny_world), META, offload=offload)
    blocks = world.denoiser.transformer_blocks
    assert devices(blocks) == {"cpu"}
    use_encoders(world)
    predict(world)
    world.settle()
    assert devices(world.denoiser) == {META}
    assert "codec" not in vars(world)
    assert "text" not in vars(world)
    predict(world)
    assert devices(blocks) == {META}
    assert world.encode_prompts(PROMPTS).device.type == META
    assert devices(blocks) == {META}, "an encoder that comes again sends nothing home"
    assert devices(world.text.model) == {META}


def test_a_base_settles_in_the_middle_of_a_turn(tiny_world: Path) -> None:
    """The turn of its own blocks, whose copies are on the device: what settles is their home, once."""
    world = open_world(str(tiny_world), META, offload="sequential")
    predict(world)
    assert devices(world.denoiser.transformer_blocks) == {META}
    before = [name for name, _ in world.denoiser.named_parameters()]
    world.settle()
    world.settle()
    assert devices(world.denoiser) == {META}
    assert [name for name, _ in world.denoiser.named_parameters()] == before


def test_what_settles_is_let_go_of_by_its_turns(tiny_world: Path) -> None:
    """It may be compiled, which a base that moves may not."""
    world = open_world(str(tiny_world), offload="group")
    world.settle()
    world.compile()
    assert world.compiled


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("offload", ["sequential", "group"])
def test_a_step_after_settling_is_that_of_a_base_that_never_moved(
    tiny_world: Path, offload: Offload, method: str
) -> None:
    """To the bit: latents, texts, the loss, every gradient and the weights after the step."""

    def step(offload: Offload) -> list[Tensor]:
        world = open_world(str(tiny_world), offload=offload)
        z_BCTHW, text_BND = use_encoders(world)
        parameters = inject(world.denoiser, AdapterSpec(method=method, rank=2), seed=0)  # type: ignore[arg-type]
        if offload != "none":
            world.settle()
        settings = Train(batch=2)
        state = TrainingState(parameters, settings)
        draws = training_draws(settings, 5.0, 0, z_BCTHW.shape[1:], range(2))
        loss_B = loss_per_clip(world, z_BCTHW, text_BND, draws)
        loss_B.sum().backward()
        gradients = [parameter.grad.clone() for parameter in parameters.values()]
        state.move(1.0, 1)
        own = {name: parameter for name, parameter in world.denoiser.named_parameters() if parameter.requires_grad}
        assert all(own[name] is parameter for name, parameter in parameters.items()), "what is trained is in the base"
        return [z_BCTHW, text_BND, loss_B.detach(), *gradients, *(p.detach().clone() for p in parameters.values())]

    plain, settled = step("none"), step(offload)
    assert len(plain) == len(settled)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(settled, plain, strict=True))
