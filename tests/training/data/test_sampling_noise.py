from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from worldtune.training.data.sampling_noise import NoiseDraws, held_out_draws, training_draws
from worldtune.training.recipe import Train

MODES = {"text2world": 0.1, "image2world": 0.65, "video2world": 0.25}
Z = torch.zeros(4, 16, 3, 2, 2)


def draw(
    seed: int = 0,
    step: int = 0,
    batch: int = 4,
    modes: dict[str, float] = MODES,
    dropout: float = 0.5,
    shift: float | None = 5.0,
    high_sigma: float = 0.0,
    places: Sequence[int] | None = None,
) -> NoiseDraws:
    settings = Train(modes=modes, text_dropout=dropout, seed=seed, batch=batch, high_sigma=high_sigma)
    return training_draws(settings, shift, step, (16, 3, 2, 2), range(batch) if places is None else places)


def same(one: NoiseDraws, other: NoiseDraws) -> bool:
    return all(torch.equal(vars(one)[name], vars(other)[name]) for name in vars(one))


@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6), st.integers(0, 1000))
def test_draws_depend_only_on_seed_and_step(seed: int, step: int, elsewhere: int) -> None:
    first = draw(seed, step)
    torch.manual_seed(elsewhere)
    draw(seed, step + 1)
    assert same(draw(seed, step), first)


def test_other_steps_and_seeds_give_other_draws() -> None:
    noises = [draw(seed, step).noise_BCTHW for seed in (0, 1) for step in (0, 1)]
    assert len({tuple(noise.flatten().tolist()) for noise in noises}) == 4


def test_modes_levels_and_dropout_follow_their_distributions() -> None:
    draws = draw(batch=20_000, dropout=0.2)
    k_B = draws.cond_mask_BT.sum(1)
    assert [(k_B == k).float().mean().item() for k in (0, 1, 2)] == pytest.approx([0.1, 0.65, 0.25], abs=0.015)
    assert draws.dropped_B.float().mean().item() == pytest.approx(0.2, abs=0.015)
    assert draws.sigma_B.mean().item() == pytest.approx(0.794, abs=0.01)
    assert draws.noise_BCTHW.std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("mode", "k"), [("text2world", 0), ("image2world", 1), ("video2world", 2)])
def test_single_mode_masks_k_frames(mode: str, k: int) -> None:
    assert draw(modes={mode: 1.0}).cond_mask_BT.sum(1).tolist() == [k] * 4


def test_held_out_draws_do_not_depend_on_the_batch() -> None:
    together = held_out_draws(Z, "image2world", 5.0, 0.3, [5, 2, 9, 0])
    for place, number in enumerate([5, 2, 9, 0]):
        alone = held_out_draws(Z[:1], "image2world", 5.0, 0.3, [number])
        assert torch.equal(alone.noise_BCTHW[0], together.noise_BCTHW[place])
        assert torch.equal(alone.sigma_B, together.sigma_B[:1])
    assert not torch.equal(together.noise_BCTHW[0], together.noise_BCTHW[1])
    assert not together.dropped_B.any()
    assert together.cond_mask_BT.tolist() == [[1.0, 0.0, 0.0]] * 4


def test_held_out_levels_are_quantiles_of_training_levels() -> None:
    trained = draw(batch=50_000).sigma_B
    for quantile in (0.125, 0.5, 0.875):
        sigma = held_out_draws(Z[:1], "text2world", 5.0, quantile, [0]).sigma_B
        assert (trained < sigma).float().mean().item() == pytest.approx(quantile, abs=0.01)


def test_predict_2_changes_only_the_noise_levels() -> None:
    """t = σ/(1 + σ) with σ = √24·exp(n), and 5 % of the levels from 200 on, which is t ≥ 200/201."""
    flow, edm = draw(batch=50_000), draw(batch=50_000, shift=None)
    assert torch.equal(flow.noise_BCTHW, edm.noise_BCTHW)
    assert torch.equal(flow.cond_mask_BT, edm.cond_mask_BT)
    assert torch.equal(flow.dropped_B, edm.dropped_B)
    assert edm.sigma_B.median().item() == pytest.approx(0.839, abs=0.005)  # √24/(1 + √24) = 0.8305, raised by the 5 %
    assert (edm.sigma_B >= 200 / 201).float().mean().item() == pytest.approx(0.05, abs=0.005)
    usual = edm.sigma_B[edm.sigma_B < 200 / 201]
    for quantile in (0.125, 0.5, 0.875):
        sigma = held_out_draws(Z[:1], "image2world", None, quantile, [0]).sigma_B
        assert (usual < sigma).float().mean().item() == pytest.approx(quantile, abs=0.01)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=8, unique=True))
def test_draws_of_a_clip_do_not_depend_on_the_shard(places: list[int]) -> None:
    whole, some = draw(batch=8), draw(batch=8, places=places)
    for name in vars(whole):
        assert torch.equal(getattr(some, name), getattr(whole, name)[places])


def test_high_sigma_sets_the_share_near_pure_noise() -> None:
    usual, high = draw(batch=20_000), draw(batch=20_000, high_sigma=0.25)
    assert torch.equal(usual.noise_BCTHW[:4], high.noise_BCTHW[:4])
    changed = usual.sigma_B != high.sigma_B
    assert changed.float().mean().item() == pytest.approx(0.25, abs=0.015)
    assert high.sigma_B[changed].min() >= 0.98
    assert high.sigma_B[changed].mean().item() == pytest.approx(0.99, abs=0.001)
