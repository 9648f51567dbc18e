"""Layout seeds of a study: demonstrations, resets of dreams, and evaluation, in ranges that cannot overlap.

The seeds of the pocket world's clips are below 10,000,000, so that no study repeats a layout that the base has seen.
"""

DEMONSTRATIONS = range(10_000_000, 20_000_000)
RESETS = range(20_000_000, 30_000_000)
EVALUATION = range(30_000_000, 40_000_000)
BLOCK = 10_000  # seeds of one draw; experts fail on some layouts, so that a draw tries more seeds than it has clips


def seed_block(seeds: range, draw: int) -> range:
    """Return the seeds of one draw of `seeds`. Raise ValueError if the range has no such draw."""
    if not 0 <= draw < len(seeds) // BLOCK:
        raise ValueError(f"draw {draw} is outside 0 to {len(seeds) // BLOCK - 1}")
    return seeds[draw * BLOCK : (draw + 1) * BLOCK]
