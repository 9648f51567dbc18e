import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldtune.sim.seeds import BLOCK, DEMONSTRATIONS, EVALUATION, RESETS, seed_block

PURPOSES = (DEMONSTRATIONS, RESETS, EVALUATION)
DRAWS = st.integers(0, 999)


def test_purposes_share_no_seed() -> None:
    for first, second in itertools.combinations(PURPOSES, 2):
        assert first.stop <= second.start


def test_pocket_clips_have_lower_seeds() -> None:
    from domain import SETS

    highest = max(clip_set.first_seed + 900 * 1000 for clip_set in SETS)
    assert highest <= DEMONSTRATIONS.start


@given(st.sampled_from(PURPOSES), st.sampled_from(PURPOSES), DRAWS, DRAWS)
def test_blocks_of_other_draws_or_purposes_are_disjoint(purpose: range, other: range, draw: int, second: int) -> None:
    first_block, second_block = seed_block(purpose, draw), seed_block(other, second)
    assert len(first_block) == BLOCK
    assert purpose.start <= first_block.start < first_block.stop <= purpose.stop
    if (purpose, draw) != (other, second):
        assert first_block.stop <= second_block.start or second_block.stop <= first_block.start


@pytest.mark.parametrize("draw", [-1, 1000])
def test_draw_outside_the_range_is_an_error(draw: int) -> None:
    with pytest.raises(ValueError, match=f"draw {draw} is outside 0 to 999"):
        seed_block(RESETS, draw)
