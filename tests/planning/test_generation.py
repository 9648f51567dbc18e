"""Predicted memory against what is really allocated; the promises of small cards; what an offload leaves out."""

import pytest
import torch
from diffusers import AutoencoderKLWan

from support.tiny_world import randomise
from worldtune.bench.allocation import allocated_peak
from worldtune.errors import RecipeError
from worldtune.generation.sampler import sample
from worldtune.planning import generation
from worldtune.planning.generation import GenerationPlan, plan_generation
from worldtune.planning.gpus import find_gpu, first_that_fits, gpu_with
from worldtune.worlds.catalog import BY_NAME
from worldtune.worlds.codec import Codec
from worldtune.worlds.load import open_world
from worldtune.worlds.source import pocket_folder
from worldtune.worlds.whole_clip_vae import WholeClipVae
from worldtune.worlds.world import World

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
def test_sampling_needs_what_was_predicted(world: World, guidance: int) -> None:
    planned = plan_generation(POCKET, 21, 64, 64, guidance=guidance > 0, dtype=torch.float32)
    noise_BCTHW, known_BT = torch.randn(1, 16, 6, 8, 8), torch.eye(6)[:1]
    text_BND = world.no_text()

    def run() -> torch.Tensor:
        return sample(world, text_BND, text_BND, noise_BCTHW, noise_BCTHW, known_BT, steps=3, guidance=guidance)

    predicted = planned.phases["none"]["denoise"] - bytes_of(world.denoiser) - bytes_of(world.codec.vae)
    assert allocated_peak(run) == pytest.approx(predicted, rel=TOLERANCE)


def test_reading_a_prompt_needs_what_was_predicted(world: World, planned: GenerationPlan) -> None:
    predicted = planned.phases["none"]["read the prompt"] - bytes_of(world.denoiser) - bytes_of(world.text.model)
    assert allocated_peak(lambda: world.encode_prompts(["the robot arm waits"])) == pytest.approx(
        predicted, rel=TOLERANCE
    )


def test_encoding_and_decoding_need_what_was_predicted(world: World, planned: GenerationPlan) -> None:
    vae = AutoencoderKLWan.from_config(AutoencoderKLWan.load_config(pocket_folder() / "vae"))
    codec = Codec(WholeClipVae(randomise(vae, seed=1)), torch.device("cpu"))  # no tap in time is zero
    rest = bytes_of(world.denoiser) + bytes_of(vae)
    pictures, latents = torch.zeros(1, 5, 64, 64, 3, dtype=torch.uint8), torch.randn(1, 16, 6, 8, 8)
    for phase, run in {
        "encode the input": lambda: codec.encode(pictures),
        "decode": lambda: codec.decode(latents),
    }.items():
        assert allocated_peak(run) == pytest.approx(planned.phases["none"][phase] - rest, rel=TOLERANCE)


def test_an_offload_leaves_out_what_does_not_compute(world: World, planned: GenerationPlan) -> None:
    blocks = [bytes_of(block) for block in world.denoiser.transformer_blocks]
    layers = [bytes_of(layer) for layer in world.text.layers]
    none, sequential, group = (planned.phases[offload] for offload in ("none", "sequential", "group"))
    assert none["denoise"] - sequential["denoise"] == bytes_of(world.codec.vae)
    assert sequential["denoise"] - group["denoise"] == sum(blocks) - max(blocks)
    assert none["decode"] - sequential["decode"] == sum(blocks)
    assert none["read the prompt"] - sequential["read the prompt"] == sum(blocks)
    assert sequential["read the prompt"] - group["read the prompt"] == sum(layers) - max(layers)


@pytest.mark.parametrize("guidance", [False, True])
def test_a_few_blocks_tell_of_all(monkeypatch: pytest.MonkeyPatch, guidance: bool) -> None:
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


def test_the_least_offload_that_fits_is_named() -> None:
    phases = {"none": {"a": 9, "b": 3}, "sequential": {"a": 5, "b": 6}, "group": {"a": 2, "b": 4}}
    assert [first_that_fits(phases, usable) for usable in (9, 8, 6, 5, 4, 3)] == [
        "none", "sequential", "sequential", "group", "group", None,
    ]  # fmt: skip


def test_a_size_that_the_base_cannot_make_is_refused() -> None:
    with pytest.raises(RecipeError, match="frames must be 1 \\+ 4n"):
        plan_generation(POCKET, 20, 64, 64)


def test_a_cards_usable_memory_is_less_than_its_own() -> None:
    assert find_gpu("RTX4090").usable == 24564 * 2**20 - 2**30
