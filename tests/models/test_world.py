"""A base that is offloaded while clips are encoded, and then moved to the device for training."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.models.load import open_world
from worldtune.models.memory.offload import Offload
from worldtune.models.world import World
from worldtune.training.data.sampling_noise import training_draws
from worldtune.training.flow_matching_loss import loss_per_clip
from worldtune.training.recipe import Train
from worldtune.training.state import TrainingState

META = "meta"  # it computes only shapes: a tensor left on another device causes an error
PROMPTS = ["the square goes right", "the square goes down"]


def devices(module: nn.Module) -> set[str]:
    return {tensor.device.type for tensor in (*module.parameters(), *module.buffers())}


def use_encoders(world: World) -> tuple[Tensor, Tensor]:
    """Return z_BCTHW and text_BND of two clips, making each part resident in turn."""
    frames_BTHWC = torch.arange(2 * 9 * 32 * 32 * 3, dtype=torch.int64).view(2, 9, 32, 32, 3)
    return world.encode((frames_BTHWC % 251).to(torch.uint8)), world.encode_prompts(PROMPTS)


def predict(world: World) -> None:
    x_BCTHW, sigma_BT = torch.zeros(1, 16, 3, 4, 4, device=world.device), torch.zeros(1, 3, device=world.device)
    world.velocity(x_BCTHW, sigma_BT, sigma_BT, world.no_text())


@pytest.mark.parametrize("offload", ["sequential", "group"])
def test_move_to_device_ends_the_offload(tiny_world: Path, offload: Offload) -> None:
    world = open_world(str(tiny_world), META, offload=offload)
    blocks = world.denoiser.transformer_blocks
    assert devices(blocks) == {"cpu"}
    use_encoders(world)
    predict(world)
    world.move_to_device()
    assert devices(world.denoiser) == {META}
    assert "codec" not in vars(world)
    assert "text" not in vars(world)
    predict(world)
    assert devices(blocks) == {META}
    assert world.encode_prompts(PROMPTS).device.type == META
    assert devices(blocks) == {META}, "an encoder that is read again evicts nothing"
    assert devices(world.text.model) == {META}


def test_move_to_device_while_blocks_are_resident(tiny_world: Path) -> None:
    """The blocks have copies on the device; the originals are moved, once."""
    world = open_world(str(tiny_world), META, offload="sequential")
    predict(world)
    assert devices(world.denoiser.transformer_blocks) == {META}
    before = [name for name, _ in world.denoiser.named_parameters()]
    world.move_to_device()
    world.move_to_device()
    assert devices(world.denoiser) == {META}
    assert [name for name, _ in world.denoiser.named_parameters()] == before


def test_a_moved_base_can_be_compiled(tiny_world: Path) -> None:
    """An offloaded base cannot be compiled."""
    world = open_world(str(tiny_world), offload="group")
    world.move_to_device()
    world.compile()
    assert world.compiled


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("offload", ["sequential", "group"])
def test_a_step_after_an_offload_equals_one_without(tiny_world: Path, offload: Offload, method: str) -> None:
    """Latents, texts, the loss, every gradient and the weights after the step are equal to the bit."""

    def step(offload: Offload) -> list[Tensor]:
        world = open_world(str(tiny_world), offload=offload)
        z_BCTHW, text_BND = use_encoders(world)
        parameters = inject(world.denoiser, AdapterSpec(method=method, rank=2), seed=0)  # type: ignore[arg-type]
        if offload != "none":
            world.move_to_device()
        settings = Train(batch=2)
        state = TrainingState(parameters, settings)
        draws = training_draws(settings, 5.0, 0, z_BCTHW.shape[1:], range(2))
        loss_B = loss_per_clip(world, z_BCTHW, text_BND, draws)
        loss_B.sum().backward()
        gradients = [parameter.grad.clone() for parameter in parameters.values()]
        state.step(1.0, 1)
        trained = {name: parameter for name, parameter in world.denoiser.named_parameters() if parameter.requires_grad}
        assert all(trained[name] is parameter for name, parameter in parameters.items()), (
            "the base has other parameters"
        )
        return [z_BCTHW, text_BND, loss_B.detach(), *gradients, *(p.detach().clone() for p in parameters.values())]

    plain, moved = step("none"), step(offload)
    assert len(plain) == len(moved)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(moved, plain, strict=True))
