"""The base and an adapter on the same clips, kept as they are made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from support.adapters import SPECS, make_card, train_by_hand
from worldtune.adapters.folder import remove_adapter, save_adapter
from worldtune.adapters.inject import wrapped_modules
from worldtune.errors import AdapterError, DataError
from worldtune.evaluation import generated as module
from worldtune.evaluation.generated import Maker, candidates_of
from worldtune.evaluation.kept_films import KeptFilms
from worldtune.evaluation.sampling_plan import SamplingPlan
from worldtune.evaluation.suite import image2world
from worldtune.latents.dataset import LatentClip
from worldtune.worlds.world import World

PLAN = SamplingPlan(steps=2, seeds=(0, 1))


@pytest.fixture
def adapter(world: World, tmp_path: Path) -> Path:
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    return tmp_path / "adapter"


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(PLAN, KeptFilms(tmp_path / "films"))


def test_candidates_share_everything_but_the_adapter(
    world: World, clips: list[LatentClip], adapter: Path, maker: Maker
) -> None:
    told: list[tuple[str, int, int]] = []
    videos = candidates_of(
        world, {"LoRA": adapter, "again": adapter}, clips[:2], maker, lambda *progress: told.append(progress)
    )
    assert list(videos) == ["base", "LoRA", "again"]
    assert told == [*(("base", n, 4) for n in range(5)), *(("LoRA", n, 4) for n in range(5)), ("again", 4, 4)]
    for place, seed in enumerate(PLAN.seeds):
        base = image2world(world, clips[:2], SamplingPlan(steps=2, seeds=(seed,)))
        for name in base:
            assert np.array_equal(videos["base"][name][place].read(), base[name])
            lora_THWC = videos["LoRA"][name][place].read()
            assert np.array_equal(lora_THWC, videos["again"][name][place].read())
            assert not np.array_equal(lora_THWC, base[name])
    assert wrapped_modules(world.denoiser) == []


def test_what_is_kept_is_not_made_again(world: World, clips: list[LatentClip], maker: Maker) -> None:
    """An evaluation that was cut off after its first video goes on after it."""

    def cut_off(name: str, done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    def files() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in maker.films.folder.rglob("*.mkv")}

    with pytest.raises(KeyboardInterrupt):
        candidates_of(world, {}, clips[:2], maker, cut_off)
    first = files()
    assert len(first) == 1
    videos = candidates_of(world, {}, clips[:2], maker)["base"]
    whole = files()
    assert len(whole) == 4  # two clips, two seeds
    assert first.items() <= whole.items()
    candidates_of(world, {}, clips[:2], maker)
    assert files() == whole
    expected = image2world(world, clips[:2], SamplingPlan(steps=2))
    for name, frames_THWC in expected.items():
        assert np.abs(videos[name][0].read().astype(int) - frames_THWC).max() <= 1


def test_what_a_video_depends_on_is_in_its_key(world: World, clips: list[LatentClip], adapter: Path) -> None:
    first, other = clips[:2]
    wordy = replace(first, text=replace(first.text, sha256="other words"))

    def key(plan: SamplingPlan = PLAN, adapter: Path | None = None, clip: LatentClip = first, seed: int = 0) -> str:
        keys = Maker(plan, KeptFilms(Path("unused"))).keys(world, module.Model("a", adapter), [clip])
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


def test_weights_that_were_changed_since_are_refused_even_where_their_videos_are_kept(
    world: World, clips: list[LatentClip], adapter: Path, maker: Maker
) -> None:
    maker.make(world, module.Model("LoRA", adapter), clips[:1])
    (adapter / "pytorch_lora_weights.safetensors").write_bytes(b"garbage")
    with pytest.raises(AdapterError):
        maker.make(world, module.Model("LoRA", adapter), clips[:1])


def test_an_adapter_for_another_base_is_refused(
    world: World, clips: list[LatentClip], maker: Maker, tmp_path: Path
) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], "another"))
    remove_adapter(world.denoiser)
    with pytest.raises(AdapterError, match="made for another base"):
        candidates_of(world, {"LoRA": tmp_path / "adapter"}, clips[:1], maker)
    assert wrapped_modules(world.denoiser) == []


def test_a_candidate_whose_numbers_are_none_is_named(
    world: World, clips: list[LatentClip], maker: Maker, tmp_path: Path
) -> None:
    train_by_hand(world.denoiser, SPECS["lora"])
    for name, parameter in world.denoiser.named_parameters():
        if "lora_B" in name:
            parameter.data.fill_(torch.nan)
    save_adapter(tmp_path / "broken", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    remove_adapter(world.denoiser)
    with pytest.raises(DataError, match=r"NaN.*\[LoRA, clip"):
        candidates_of(world, {"LoRA": tmp_path / "broken"}, clips[:1], maker)
