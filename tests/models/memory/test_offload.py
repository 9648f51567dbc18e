"""Offload: the resident parts at each time, their restoration afterwards, and unchanged results."""

from pathlib import Path

import pytest
import torch
from torch import nn

from worldtune.adapters.inject import inject
from worldtune.adapters.spec import AdapterSpec
from worldtune.errors import UserError
from worldtune.models.load import open_world
from worldtune.models.memory.offload import Offload, pin_memory, resident_copy
from worldtune.models.world import World

META = torch.device("meta")  # it computes only shapes: a tensor left on another device causes an error


def resident(module: nn.Module) -> bool:
    devices = {tensor.device for tensor in module.parameters()}
    assert len(devices) == 1
    return devices == {META}


def inputs(world: World) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x_BCTHW = torch.randn(1, 16, 3, 8, 8, generator=generator).to(world.device)
    sigma_BT, cond_mask_BT = torch.full((1, 3), 0.7), torch.tensor([[1.0, 0.0, 0.0]])
    return x_BCTHW, sigma_BT.to(world.device), cond_mask_BT.to(world.device)


def test_resident_copy_restores_tensors_after_an_error() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).requires_grad_(False)
    before = {**dict(module.named_parameters()), **dict(module.named_buffers())}

    def fail() -> None:
        with resident_copy(module, META, without=module[0]):
            assert not resident(module[0])
            assert resident(module[1])
            assert module[1].running_mean.device == META
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    after = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert all(after[name] is tensor for name, tensor in before.items())


def test_trained_tensors_do_not_move() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    with resident_copy(module, META):
        assert (module.weight.device.type, module.bias.device.type) == ("cpu", "meta")


@pytest.mark.parametrize(("offload", "expected"), [("sequential", 2), ("group", 1)])
def test_blocks_are_resident_together_or_one_by_one(tiny_world: Path, offload: Offload, expected: int) -> None:
    world = open_world(str(tiny_world), "meta", offload=offload)
    blocks, seen = world.denoiser.transformer_blocks, []
    assert len(blocks) == 2
    for block in blocks:
        block.attn1.to_q.register_forward_pre_hook(
            lambda *_, own=block: seen.append((resident(own), sum(map(resident, blocks))))
        )
    world.velocity(*inputs(world), world.cache_text_kv(world.no_text()))
    assert seen == [(True, expected)] * 2
    assert sum(map(resident, blocks)) == (2 if offload == "sequential" else 0)
    world.encode(torch.zeros(1, 5, 64, 64, 3, dtype=torch.uint8))
    assert resident(world.codec.vae)
    assert not any(map(resident, blocks))
    world.release_encoders()
    world.velocity(*inputs(world), world.no_text())


def test_text_layers_are_resident_one_by_one_in_a_group(tiny_world: Path) -> None:
    world = open_world(str(tiny_world), "meta", offload="group")
    layers, seen = world.text.layers, []
    for layer in layers:
        layer.self_attn.register_forward_pre_hook(
            lambda *_, own=layer: seen.append((resident(own), sum(map(resident, layers))))
        )
    world.encode_prompts(["the robot arm waits"])
    assert seen == [(True, 1)] * len(layers)
    assert not any(map(resident, layers))


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("offload", ["sequential", "group"])
def test_offload_changes_no_result(tiny_world: Path, offload: Offload, method: str) -> None:
    def numbers(offload: Offload) -> list[torch.Tensor]:
        world = open_world(str(tiny_world), offload=offload)
        for parameter in inject(world.denoiser, AdapterSpec(method=method, rank=2), seed=0).values():
            torch.nn.init.normal_(parameter, 1.0, 0.1, generator=torch.Generator().manual_seed(1))
        text_BND = world.encode_prompts(["the robot arm waits"])
        z_BCTHW = world.encode(torch.full((1, 5, 64, 64, 3), 100, dtype=torch.uint8))
        with torch.no_grad():
            v_BCTHW = world.velocity(*inputs(world), world.cache_text_kv(text_BND))
        return [text_BND, z_BCTHW, v_BCTHW, world.decode(z_BCTHW)]

    assert all(torch.equal(a, b) for a, b in zip(numbers("none"), numbers(offload), strict=True))


def test_an_offloaded_base_is_not_compiled(tiny_world: Path) -> None:
    with pytest.raises(UserError, match="cannot be combined"):
        open_world(str(tiny_world), offload="group").compile()


@pytest.mark.skipif(torch.cuda.is_available(), reason="memory can be pinned here")
def test_unpinnable_memory_is_a_warning() -> None:
    module = nn.Linear(2, 2).requires_grad_(False)
    before = module.weight.data_ptr()
    with pytest.warns(UserWarning, match="offloading is slow, because memory cannot be pinned"):
        pin_memory(module)
    assert module.weight.data_ptr() == before
