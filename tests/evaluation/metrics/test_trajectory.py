import numpy as np
import pytest
import torch

from worldtune.evaluation.metrics.paths import compare_paths, measure_reader
from worldtune.evaluation.metrics.trajectory import train_reader

from ..clips import moving_square


def path_of(seed: int, frames: int) -> np.ndarray:
    """Return the position (T, 2) of the square of `moving_square`, in tenths of a pixel."""
    rng = np.random.default_rng(seed)
    rng.random((64, 64, 1))
    start_2, step_2 = rng.uniform(2, 12, 2), rng.uniform(1.6, 3.2, 2)
    return np.stack([(start_2 + step_2 * t).round() for t in range(frames)]).astype(np.float32) * 10


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_every_seed_gives_an_accurate_reader_that_sees_half_a_motion(seed: int) -> None:
    videos = [moving_square(clip) for clip in range(24)]
    paths = [path_of(clip, 11) for clip in range(24)]
    reader = train_reader(videos[:18], paths[:18], seed=seed, steps=100)
    assert measure_reader(reader, videos[18:], paths[18:]).r2 > 0.9
    for lag, low, high in ((0.0, 0.9, 1.1), (0.6, 0.2, 0.6), (1.0, -0.1, 0.1)):
        scores = [
            compare_paths(reader.read(moving_square(clip, lag=lag)), reader.read(videos[clip]))
            for clip in range(18, 24)
        ]
        slope = sum(score.along for score in scores) / sum(score.square for score in scores)
        assert low < slope < high, lag


def test_the_same_seed_gives_the_same_reader() -> None:
    first, again, another = (train_reader([moving_square(0)], [path_of(0, 11)], seed, steps=2) for seed in (1, 1, 2))
    assert torch.equal(first.as_vector(), again.as_vector())
    assert not torch.equal(first.as_vector(), another.as_vector())


def test_training_does_not_change_the_global_random_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    train_reader([moving_square(0)], [path_of(0, 11)], steps=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(torch.rand(3), expected)
