"""The promises of a mixture: shares at every length, whole epochs of each dataset, no state."""

import math
from collections import Counter

from hypothesis import assume, example, given
from hypothesis import strategies as st

from worldtune.core.seeds import derive_seed
from worldtune.latents.dataset import ClipOrder
from worldtune.latents.mixture import INITIAL_SAMPLES, Mixture

DISCREPANCY = 3 / 20 / math.log((1 + 5**0.5) / 2)
"""An interval that begins at 0 misses its share of n·φ, n < N, by this times ln N in the limit (Dupain & Sós 1984)."""

SEEDS = st.integers(0, 2**32 - 1)
WEIGHTS = st.lists(st.integers(1, 40), min_size=1, max_size=5)


def shares_of(weights: list[int]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def datasets(mixture: Mixture, samples: int) -> list[int]:
    return [mixture[n][0] for n in range(samples)]


@example([1, 1], INITIAL_SAMPLES + 1)
@example([1, 999], 2 * INITIAL_SAMPLES)
@given(WEIGHTS, st.integers(1, 2000))
def test_every_dataset_has_its_share_at_every_length(weights: list[int], samples: int) -> None:
    """A dataset between others has errors at both ends: twice the discrepancy, and one sample at the start."""
    shares = shares_of(weights)
    counts = [0] * len(shares)
    for n, dataset in enumerate(datasets(Mixture([3] * len(shares), shares, 0), samples), 1):
        counts[dataset] += 1
        bound = 1 + 2 * DISCREPANCY * math.log(n)
        assert all(abs(count - n * share) <= bound for count, share in zip(counts, shares, strict=True)), n


@given(st.floats(0.1, 0.9), st.integers(0, 5000))
def test_every_eight_samples_in_a_row_are_mixed(share: float, first: int) -> None:
    """Eight is a Fibonacci number, so that the error of a share is less than two from any start."""
    mixture = Mixture([5, 7], [share, 1 - share], 0)
    count = Counter(mixture[n][0] for n in range(first, first + 8))[0]
    assert abs(count - 8 * share) < 2


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), min_size=1, max_size=4), SEEDS)
def test_every_clip_occurs_once_per_epoch_of_its_dataset(sized: list[tuple[int, int]], seed: int) -> None:
    counts, weights = map(list, zip(*sized, strict=True))
    mixture = Mixture(counts, shares_of(weights), seed)
    seen: list[list[int]] = [[] for _ in counts]
    for n in range(200):
        dataset, clip = mixture[n]
        seen[dataset].append(clip)
    for count, clips in zip(counts, seen, strict=True):
        epochs = [clips[i : i + count] for i in range(0, len(clips), count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs[:-1])
        assert all(len(set(epoch)) == len(epoch) for epoch in epochs)


@given(WEIGHTS, SEEDS, st.lists(st.integers(0, 3 * INITIAL_SAMPLES), min_size=1, max_size=20))
def test_mixture_has_no_state(weights: list[int], seed: int, samples: list[int]) -> None:
    counts, shares = [4 + i for i in range(len(weights))], shares_of(weights)
    mixture, in_order = Mixture(counts, shares, seed), Mixture(counts, shares, seed)
    samples_by_number = {n: mixture[n] for n in samples}
    assert samples_by_number == {n: in_order[n] for n in sorted(samples)}


def test_growing_does_not_change_the_samples() -> None:
    """Samples on both sides of a growth step are the same one by one and all at once."""
    one_by_one, at_once = (Mixture([5, 3], [0.7, 0.3], 1) for _ in range(2))
    assert at_once[3 * INITIAL_SAMPLES] == Mixture([5, 3], [0.7, 0.3], 1)[3 * INITIAL_SAMPLES]
    assert [one_by_one[n] for n in range(3 * INITIAL_SAMPLES)] == [at_once[n] for n in range(3 * INITIAL_SAMPLES)]


@given(st.integers(1, 30), SEEDS)
def test_single_dataset_follows_its_clip_order(count: int, seed: int) -> None:
    mixture, order = Mixture([count], [1.0], seed), ClipOrder(count, derive_seed(seed, 0))
    assert [mixture[n] for n in range(3 * count)] == [(0, order[n]) for n in range(3 * count)]


@example(0, 2**31)
@given(SEEDS, SEEDS)
def test_seed_changes_the_clips_but_not_the_shares(one: int, other: int) -> None:
    assume(one != other)
    mixtures = [Mixture([40, 40], [0.5, 0.5], seed) for seed in (one, other)]
    samples = [[mixture[n] for n in range(80)] for mixture in mixtures]
    assert [dataset for dataset, _ in samples[0]] == [dataset for dataset, _ in samples[1]]
    assert samples[0] != samples[1]


def test_equal_sized_datasets_are_shuffled_differently() -> None:
    mixture = Mixture([40, 40], [0.5, 0.5], 0)
    seen = [[clip for dataset, clip in (mixture[n] for n in range(80)) if dataset == which] for which in (0, 1)]
    assert seen[0][:30] != seen[1][:30]
