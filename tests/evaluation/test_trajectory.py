import numpy as np
import pytest
import torch

from worldtune.evaluation.metrics.trajectory import compare_paths, explained, train_reader

from .clips import moving_square


def path_of(seed: int, frames: int) -> np.ndarray:
    """Where the square of `moving_square` is, (T, 2), in tenths of a pixel."""
    rng = np.random.default_rng(seed)
    rng.random((64, 64, 1))
    start_2, step_2 = rng.uniform(2, 12, 2), rng.uniform(1.6, 3.2, 2)
    return np.stack([(start_2 + step_2 * t).round() for t in range(frames)]).astype(np.float32) * 10


@pytest.mark.slow
def test_a_reader_reads_where_it_is_and_sees_half_a_motion() -> None:
    films, paths = ([make(seed) for seed in range(24)] for make in (moving_square, lambda seed: path_of(seed, 11)))
    reader = train_reader(films[:18], paths[:18])
    assert explained(reader, films[18:], paths[18:]) > 0.9
    for lag, low, high in ((0.0, 0.9, 1.1), (0.6, 0.2, 0.6), (1.0, -0.1, 0.1)):
        found = [
            compare_paths(reader.read(moving_square(seed, lag=lag)), reader.read(films[seed])) for seed in range(18, 24)
        ]
        slope = sum(one.along for one in found) / sum(one.square for one in found)
        assert low < slope < high, lag


def test_paths_are_compared_from_where_both_begin() -> None:
    real = np.array([[0, 0], [1, 2], [3, 4]], np.float32)
    same = compare_paths(real + 7, real)
    assert (same.correlation, same.end_point) == (pytest.approx(1), 0)
    half = compare_paths(0.5 * real, real)
    assert half.along / half.square == pytest.approx(0.5)
    assert (half.correlation, half.end_point) == (pytest.approx(1), pytest.approx(2.5))
    away = compare_paths(-real, real)
    assert away.along / away.square == pytest.approx(-1)
    stays = compare_paths(0 * real, real)
    assert (stays.correlation, stays.along) == (0, 0), "a path that stays is no missing value"
    assert compare_paths(real, 0 * real).correlation is None


def test_training_a_reader_leaves_the_programs_random_numbers_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train_reader([moving_square(0)], [path_of(0, 11)], steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(torch.rand(3), expected)
