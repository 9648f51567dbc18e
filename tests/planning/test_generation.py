"""Predicted memory of a video against allocated memory; full-size videos on small cards; effects of offloading."""

import pytest
import torch
from diffusers import AutoencoderKLWan

from benchmarks.training.allocation import allocated_peak
from support.tiny_world import randomize
from worldtune.errors import RecipeError
from worldtune.generation.sampler import Guidance, sample
from worldtune.models.catalog import BY_NAME
from worldtune.models.load import open_world
from worldtune.models.resolve_base import pocket_folder
from worldtune.models.vae.codec import Codec
from worldtune.models.vae.full_clip import WholeClipVae
from worldtune.models.world import World
from worldtune.planning import generation
from worldtune.planning.generation import plan_generation
from worldtune.planning.gpus import find_gpu, first_that_fits, gpu_with
from worldtune.planning.plans import GenerationPlan

TOLERANCE = 0.05
POCKET = BY_NAME["pocket"]


@pytest.fixture(scope="module")
def world() -> World:
    return open_world("pocket")


@pytest.fixture(scope="module")
def planned() -> GenerationPlan:
    return plan_generation(POCKET, 21, 64, 64, dtype=torch.float32)


def bytes_of(module: torch.nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in module.state_dict().values())


@pytest.mark.parametrize("guidance", [0, 3])
def test_predicted_memory_of_sampling_is_right(world: World, guidance: int) -> None:
    planned = plan_generation(POCKET, 21, 64, 64, guidance=guidance > 0, dtype=torch.float32)
    noise_BCTHW, cond_mask_BT = torch.randn(1, 16, 6, 8, 8), torch.eye(6)[:1]
    text_BND = world.no_text()

    def run() -> torch.Tensor:
        prompts = Guidance(text_BND, text_BND, guidance)
        return sample(world, prompts, noise_BCTHW, noise_BCTHW, cond_mask_BT, steps=3)

    predicted = planned.phases["none"]["denoise"] - bytes_of(world.denoiser) - bytes_of(world.codec.vae)
    assert allocated_peak(run) == pytest.approx(predicted, rel=TOLERANCE)


def test_predicted_memory_of_reading_a_prompt_is_right(world: World, planned: GenerationPlan) -> None:
    predicted = planned.phases["none"]["read the prompt"] - bytes_of(world.denoiser) - bytes_of(world.text.model)
    assert allocated_peak(lambda: world.encode_prompts(["the robot arm waits"])) == pytest.approx(
        predicted, rel=TOLERANCE
    )


def test_predicted_memory_of_encoding_and_decoding_is_right(world: World, planned: GenerationPlan) -> None:
    vae = AutoencoderKLWan.from_config(AutoencoderKLWan.load_config(pocket_folder() / "vae"))
    codec = Codec(WholeClipVae(randomize(vae, seed=1)), torch.device("cpu"))  # no temporal tap is zero
    rest = bytes_of(world.denoiser) + bytes_of(vae)
    pictures, latents = torch.zeros(1, 5, 64, 64, 3, dtype=torch.uint8), torch.randn(1, 16, 6, 8, 8)
    for phase, run in {
        "encode the input": lambda: codec.encode(pictures),
        "decode": lambda: codec.decode(latents),
    }.items():
        assert allocated_peak(run) == pytest.approx(planned.phases["none"][phase] - rest, rel=TOLERANCE)


def test_offload_removes_idle_parts_from_the_gpu(world: World, planned: GenerationPlan) -> None:
    blocks = [bytes_of(block) for block in world.denoiser.transformer_blocks]
    layers = [bytes_of(layer) for layer in world.text.layers]
    none, sequential, group = (planned.phases[offload] for offload in ("none", "sequential", "group"))
    assert none["denoise"] - sequential["denoise"] == bytes_of(world.codec.vae)
    assert sequential["denoise"] - group["denoise"] == sum(blocks) - max(blocks)
    assert none["decode"] - sequential["decode"] == sum(blocks)
    assert none["read the prompt"] - sequential["read the prompt"] == sum(blocks)
    assert sequential["read the prompt"] - group["read the prompt"] == sum(layers) - max(layers)


@pytest.mark.parametrize("guidance", [False, True])
def test_extrapolation_from_a_few_blocks_is_exact(monkeypatch: pytest.MonkeyPatch, guidance: bool) -> None:
    few = plan_generation(POCKET, 21, 64, 64, guidance=guidance)
    monkeypatch.setattr(generation, "FEW", POCKET.architecture.layers)
    assert plan_generation(POCKET, 21, 64, 64, guidance=guidance) == few


@pytest.mark.slow
@pytest.mark.parametrize(("name", "memory"), [("predict2.5-2b/post-trained", 16), ("predict2.5-14b/post-trained", 48)])
def test_full_size_videos_fit_small_cards(name: str, memory: int) -> None:
    base = BY_NAME[name]
    planned = plan_generation(base, base.frames, base.height, base.width)
    card = gpu_with(f"{memory}GB")
    assert first_that_fits(planned.phases, card.usable) is not None
    assert first_that_fits(planned.phases, gpu_with("4GB").usable) is None
    parts = 28 * (9.93 + 58.8) if "2b" in name else 0  # linears and attention of a block, in 10¹² operations
    if parts:
        assert planned.flops / 1e12 == pytest.approx(parts, rel=0.01)


def test_first_fitting_offload_is_chosen() -> None:
    phases = {"none": {"a": 9, "b": 3}, "sequential": {"a": 5, "b": 6}, "group": {"a": 2, "b": 4}}
    assert [first_that_fits(phases, usable) for usable in (9, 8, 6, 5, 4, 3)] == [
        "none", "sequential", "sequential", "group", "group", None,
    ]  # fmt: skip


def test_impossible_size_is_an_error() -> None:
    with pytest.raises(RecipeError, match="frames must be 1 \\+ 4n"):
        plan_generation(POCKET, 20, 64, 64)


def test_usable_memory_leaves_a_reserve() -> None:
    assert find_gpu("RTX4090").usable == 24564 * 2**20 - 2**30
