"""A mixture against what it promises: shares at every length, whole epochs of each dataset, no memory."""

import math
from collections import Counter

from hypothesis import assume, example, given
from hypothesis import strategies as st

from worldtune.latents.dataset import ClipOrder
from worldtune.latents.mixture import GROWTH, Mixture
from worldtune.seeds import seed_of

DISCREPANCY = 3 / 20 / math.log((1 + 5**0.5) / 2)
"""An interval that begins at 0 misses its share of n·φ, n < N, by this times ln N in the limit (Dupain & Sós 1984)."""

SEEDS = st.integers(0, 2**32 - 1)
WEIGHTS = st.lists(st.integers(1, 40), min_size=1, max_size=5)


def shares_of(weights: list[int]) -> list[float]:
    return [weight / sum(weights) for weight in weights]


def datasets(mixture: Mixture, samples: int) -> list[int]:
    return [mixture[n][0] for n in range(samples)]


@example([1, 1], GROWTH + 1)
@example([1, 999], 2 * GROWTH)
@given(WEIGHTS, st.integers(1, 2000))
def test_every_dataset_has_its_share_at_every_length(weights: list[int], samples: int) -> None:
    """A dataset between others misses it at both of its ends: twice the discrepancy, and one sample at the start."""
    shares = shares_of(weights)
    counts = [0] * len(shares)
    for n, dataset in enumerate(datasets(Mixture([3] * len(shares), shares, 0), samples), 1):
        counts[dataset] += 1
        bound = 1 + 2 * DISCREPANCY * math.log(n)
        assert all(abs(count - n * share) <= bound for count, share in zip(counts, shares, strict=True)), n


@given(st.floats(0.1, 0.9), st.integers(0, 5000))
def test_every_eight_samples_in_a_row_are_mixed(share: float, first: int) -> None:
    """Eight is a number of Fibonacci's: an interval then misses its share by less than two, wherever they begin."""
    mixture = Mixture([5, 7], [share, 1 - share], 0)
    count = Counter(mixture[n][0] for n in range(first, first + 8))[0]
    assert abs(count - 8 * share) < 2


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 40)), min_size=1, max_size=4), SEEDS)
def test_every_clip_of_a_dataset_is_seen_once_an_epoch_of_it(sized: list[tuple[int, int]], seed: int) -> None:
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


@given(WEIGHTS, SEEDS, st.lists(st.integers(0, 3 * GROWTH), min_size=1, max_size=20))
def test_a_sample_does_not_depend_on_what_was_asked_before(weights: list[int], seed: int, samples: list[int]) -> None:
    counts, shares = [4 + i for i in range(len(weights))], shares_of(weights)
    mixture, in_order = Mixture(counts, shares, seed), Mixture(counts, shares, seed)
    asked = {n: mixture[n] for n in samples}
    assert asked == {n: in_order[n] for n in sorted(samples)}


def test_it_grows_without_a_seam() -> None:
    """Samples on both sides of where more are assigned, asked for one by one and all at once."""
    one_by_one, at_once = (Mixture([5, 3], [0.7, 0.3], 1) for _ in range(2))
    assert at_once[3 * GROWTH] == Mixture([5, 3], [0.7, 0.3], 1)[3 * GROWTH]
    assert [one_by_one[n] for n in range(3 * GROWTH)] == [at_once[n] for n in range(3 * GROWTH)]


@given(st.integers(1, 30), SEEDS)
def test_one_dataset_alone_is_its_own_order(count: int, seed: int) -> None:
    mixture, order = Mixture([count], [1.0], seed), ClipOrder(count, seed_of(seed, 0))
    assert [mixture[n] for n in range(3 * count)] == [(0, order[n]) for n in range(3 * count)]


@example(0, 2**31)
@given(SEEDS, SEEDS)
def test_seeds_shuffle_clips_and_leave_the_shares_as_they_are(one: int, other: int) -> None:
    assume(one != other)
    mixtures = [Mixture([40, 40], [0.5, 0.5], seed) for seed in (one, other)]
    samples = [[mixture[n] for n in range(80)] for mixture in mixtures]
    assert [dataset for dataset, _ in samples[0]] == [dataset for dataset, _ in samples[1]]
    assert samples[0] != samples[1]


def test_datasets_of_one_size_are_not_shuffled_alike() -> None:
    mixture = Mixture([40, 40], [0.5, 0.5], 0)
    seen = [[clip for dataset, clip in (mixture[n] for n in range(80)) if dataset == which] for which in (0, 1)]
    assert seen[0][:30] != seen[1][:30]
