import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.core.seeds import derive_seed

NUMBERS = st.lists(st.integers(0, 2**40), min_size=1, max_size=3)


@pytest.mark.parametrize(
    ("parts", "seed"),
    [
        ((0,), 613549620),
        ((2**40,), 1512341746),
        ((-1,), 390797764),
        ((0, 0), 2171312236),
        ((1, 23), 2254045205),
        ((12, 3), 3407451206),
        ((0, 1), 4001049575),
        ((0, "1"), 842161720),
        ((7, "a", "b"), 416527305),
        ((0, "é"), 2359223978),
    ],
)
def test_derived_seeds_never_change(parts: tuple[int | str, ...], seed: int) -> None:
    """Runs, videos and augmented clips depend on these values. To compute one: `printf 1,23 | b2sum -l 32`."""
    assert derive_seed(*parts) == seed


@given(NUMBERS)
def test_seed_fits_32_bits(numbers: list[int]) -> None:
    assert 0 <= derive_seed(*numbers) < 2**32


def test_near_and_far_numbers_have_distinct_seeds() -> None:
    """Of 10,000 random 32-bit numbers about 0.01 pairs are equal."""
    grid = {
        derive_seed(seed, step, place) for seed in (0, 1, 2**31, 2**32) for step in range(250) for place in range(10)
    }
    assert len(grid) >= 9_999
    assert derive_seed(1, 23) != derive_seed(12, 3) != derive_seed(3, 12)
