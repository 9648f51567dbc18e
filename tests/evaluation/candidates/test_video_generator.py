"""Videos of the base and an adapter on the same clips, cached one by one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.adapters import SPECS, make_card, train_by_hand
from support.progress import Recorded
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.adapters.inject import wrapped_modules
from worldtune.errors import AdapterError, DataError
from worldtune.evaluation.cache.video_cache import VideoCache
from worldtune.evaluation.candidates import video_generator as module
from worldtune.evaluation.candidates.video_generator import VideoGenerator, generate_candidates
from worldtune.evaluation.cases.clip_cases import generate_image2world
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.latents.dataset import LatentClip
from worldtune.models.world import World

PLAN = SamplingPlan(steps=2, seeds=(0, 1))


@pytest.fixture
def adapter(world: World, tmp_path: Path) -> Path:
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    return tmp_path / "adapter"


@pytest.fixture
def generator(tmp_path: Path) -> VideoGenerator:
    return VideoGenerator(PLAN, VideoCache(tmp_path / "videos"))


def test_candidates_share_everything_but_the_adapter(
    world: World, clips: list[LatentClip], adapter: Path, generator: VideoGenerator
) -> None:
    progress = Recorded()
    videos = generate_candidates(world, {"LoRA": adapter, "again": adapter}, clips[:2], generator, progress)
    assert list(videos) == ["base", "LoRA", "again"]
    assert progress.calls == [*((n, 4, "base") for n in range(5)), *((n, 4, "LoRA") for n in range(5)), (4, 4, "again")]
    for place, seed in enumerate(PLAN.seeds):
        base = generate_image2world(world, clips[:2], SamplingPlan(steps=2, seeds=(seed,)))
        for name in base:
            assert np.array_equal(videos["base"][name][place].read(), base[name])
            lora_THWC = videos["LoRA"][name][place].read()
            assert np.array_equal(lora_THWC, videos["again"][name][place].read())
            assert not np.array_equal(lora_THWC, base[name])
    assert wrapped_modules(world.denoiser) == []


def test_cached_videos_are_not_generated_again(
    world: World, clips: list[LatentClip], generator: VideoGenerator
) -> None:
    """An evaluation interrupted after its first video continues with the second."""

    def cut_off(done: int, total: int, note: str = "") -> None:
        if done == 1:
            raise KeyboardInterrupt

    def files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in generator.video_cache.folder.rglob("*.mkv")}

    with pytest.raises(KeyboardInterrupt):
        generate_candidates(world, {}, clips[:2], generator, cut_off)
    first = files()
    assert len(first) == 1
    videos = generate_candidates(world, {}, clips[:2], generator)["base"]
    whole = files()
    assert len(whole) == 4  # two clips, two seeds
    assert first.items() <= whole.items()
    generate_candidates(world, {}, clips[:2], generator)
    assert files() == whole
    expected = generate_image2world(world, clips[:2], SamplingPlan(steps=2))
    for name, frames_THWC in expected.items():
        assert np.abs(videos[name][0].read().astype(int) - frames_THWC).max() <= 1


def test_a_key_covers_everything_a_video_depends_on(world: World, clips: list[LatentClip], adapter: Path) -> None:
    first, other = clips[:2]
    wordy = replace(first, text=replace(first.text, sha256="other words"))

    def key(plan: SamplingPlan = PLAN, adapter: Path | None = None, clip: LatentClip = first, seed: int = 0) -> str:
        keys = VideoGenerator(plan, VideoCache(Path("unused"))).keys(world, module.CandidateModel("a", adapter), [clip])
        return str(sorted(keys[seed, clip.clip.name].items()))

    keys = [
        key(),
        key(seed=1),
        key(clip=other),
        key(clip=wordy),
        key(adapter=adapter),
        key(SamplingPlan(steps=3)),
        key(SamplingPlan(steps=2, guidance=1)),
    ]
    assert len(set(keys)) == len(keys)
    assert key(SamplingPlan(steps=2, guidance=0)) == key(SamplingPlan(steps=2, guidance=0.0)) == keys[0]


def test_changed_weights_are_an_error_even_with_cached_videos(
    world: World, clips: list[LatentClip], adapter: Path, generator: VideoGenerator
) -> None:
    generator.generate(world, module.CandidateModel("LoRA", adapter), clips[:1])
    (adapter / "pytorch_lora_weights.safetensors").write_bytes(b"garbage")
    with pytest.raises(AdapterError):
        generator.generate(world, module.CandidateModel("LoRA", adapter), clips[:1])


def test_an_adapter_for_another_base_is_an_error(
    world: World, clips: list[LatentClip], generator: VideoGenerator, tmp_path: Path
) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], "another"))
    remove_adapter(world.denoiser)
    with pytest.raises(AdapterError, match="made for another base"):
        generate_candidates(world, {"LoRA": tmp_path / "adapter"}, clips[:1], generator)
    assert wrapped_modules(world.denoiser) == []


def test_an_error_names_the_candidate_with_nan_videos(
    world: World, clips: list[LatentClip], generator: VideoGenerator, tmp_path: Path
) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    for name, parameter in world.denoiser.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(1e38)
    save_adapter(tmp_path / "broken", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    with pytest.raises(DataError, match=r"NaN.*\[LoRA, clip"):
        generate_candidates(world, {"LoRA": tmp_path / "broken"}, clips[:1], generator)
