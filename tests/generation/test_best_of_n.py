"""Best of n: every seed is scored, the best is kept, and all scores are reported."""

from pathlib import Path

import numpy as np
import pytest

from worldtune.errors import UserError
from worldtune.generation.best_of_n import best_of, load_critic
from worldtune.generation.request import GenerationRequest
from worldtune.generation.validate_request import Resolved, resolve
from worldtune.models.load import open_world


@pytest.fixture(scope="module")
def resolved(tiny_world: Path) -> Resolved:
    fields = {"name": "a", "inference_type": "text2world", "prompt": "a", "seed": 5, "resolution": "32,32"}
    return resolve(open_world(str(tiny_world)), GenerationRequest.model_validate(fields | {"num_output_frames": 5}))


def make(resolved: Resolved) -> np.ndarray:
    return np.full((1, 2, 2, 3), {5: 30, 6: 90, 7: 60}[resolved.request.seed], np.uint8)


def test_the_best_seed_wins(resolved: Resolved) -> None:
    prompts: list[str] = []

    def critic(frames_THWC: np.ndarray, prompt: str) -> float:
        prompts.append(prompt)
        return float(frames_THWC.mean())

    winner, frames_THWC, scores = best_of(resolved, 3, critic, make)
    assert winner.request.seed == 6
    assert frames_THWC.mean() == 90
    assert scores == {5: 30.0, 6: 90.0, 7: 60.0}
    assert prompts == ["a"] * 3


def test_the_first_seed_wins_a_tie(resolved: Resolved) -> None:
    assert best_of(resolved, 3, lambda frames, prompt: 1.0, make)[0].request.seed == 5


def test_a_critic_is_loaded_by_name() -> None:
    assert load_critic("statistics:fmean")([1.0, 3.0]) == 2.0  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize("name", ["statistics", "statistics:nothing", "no_such_module:score", "math:pi", ":f", ".x:f"])
def test_an_invalid_critic_name_is_an_error(name: str) -> None:
    with pytest.raises(UserError, match=r"package\.module:function"):
        load_critic(name)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_an_error(resolved: Resolved, score: float) -> None:
    with pytest.raises(UserError, match="for seed 5"):
        best_of(resolved, 3, lambda frames, prompt: score, make)
