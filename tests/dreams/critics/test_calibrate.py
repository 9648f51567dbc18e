"""Calibration measures false alarms by leaving clips out, and the calibrated critics see planted faults."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation.clips import features, moving_square
from worldtune.data.dataset import Dataset
from worldtune.dreams.critics.calibrate import (
    MAX_CLIPS,
    choose_real_clips,
    conformal_margin,
    count_alarms,
    fit_factors,
    fold_margins,
    leave_one_out,
)
from worldtune.dreams.critics.chain import Chain, Measured, fit_chain, measure, required_factors
from worldtune.dreams.idm.labels import Labels
from worldtune.dreams.request import CRITICS, CriticName
from worldtune.errors import DataError
from worldtune.evaluation.cases.case import Frames

CLIPS = 40


def labels(frames_THWC: Frames, seed: int) -> Labels:
    """Return labels as an IDM would give them: the path of the brightest change, and a small disagreement."""
    rng = np.random.default_rng(seed)
    step_IS = np.abs(np.diff(frames_THWC.astype(np.float32), axis=0)).mean((1, 2)) / 10
    states_TS = np.concatenate([np.zeros((1, 3)), np.cumsum(step_IS, axis=0)]).astype(np.float32)
    return Labels(step_IS, states_TS, rng.uniform(0.1, 0.2, len(step_IS)).astype(np.float32))


def measured(frames_THWC: Frames, seed: int, critics: tuple[CriticName, ...] = CRITICS) -> Measured:
    return measure(features(frames_THWC), labels(frames_THWC, seed), critics)


@pytest.fixture(scope="module")
def real() -> list[Measured]:
    return [measured(moving_square(seed, noise=2), seed) for seed in range(CLIPS)]


@pytest.fixture(scope="module")
def chain(real: list[Measured]) -> Chain:
    margin, factors = conformal_margin(fold_margins(CRITICS, real)), fit_factors(leave_one_out(CRITICS, real))
    names = required_factors(CRITICS, real, real[0])
    return fit_chain(CRITICS, real, {name: margin * factors.get(name, 1.0) for name in names})


def test_false_alarms_are_at_most_five_percent(real: list[Measured]) -> None:
    required = leave_one_out(CRITICS, real)
    factors = fit_factors(required)
    assert count_alarms(required, {}) > count_alarms(required, factors)
    assert count_alarms(required, factors) <= 0.05 * CLIPS
    rejected = [
        bool(fit_chain(CRITICS, [*real[:number], *real[number + 1 :]], factors).judge(clip).reason)
        for number, clip in enumerate(real)
    ]
    assert sum(rejected) == count_alarms(required, factors)


def test_margin_is_a_conformal_quantile() -> None:
    assert conformal_margin([float(n) for n in range(1, 40)]) == pytest.approx(38)  # 1 of 39 is above
    assert conformal_margin([3.0, 1.0, 2.0]) == pytest.approx(3)
    with pytest.raises(DataError, match="more than 5% of the real clips"):
        conformal_margin([np.inf] * 10)


def test_clips_that_calibration_did_not_see_are_rarely_rejected(chain: Chain) -> None:
    fresh = [chain.judge(measured(moving_square(seed, noise=2), seed)) for seed in range(100, 140)]
    assert sum(bool(verdict.reason) for verdict in fresh) <= 4


def test_planted_faults_are_rejected_by_the_critic_that_sees_them(chain: Chain) -> None:
    frames_THWC = moving_square(100, noise=2)
    frozen_THWC = np.broadcast_to(frames_THWC[:1], frames_THWC.shape)
    assert chain.judge(measured(frozen_THWC, 100)).reason.startswith("motion: flow 0 is below")
    noisy = chain.judge(measured(moving_square(100, noise=60), 100))
    assert any(name.startswith("anomaly.") for name in noisy.faults)
    video, own = features(frames_THWC), labels(frames_THWC, 100)
    unsure = replace(own, spread_I=np.full(10, 5, np.float32))
    assert chain.judge(measure(video, unsure, CRITICS)).reason.startswith("disagreement: mean 5 is above")
    assert own.states_TS is not None
    teleport = replace(own, states_TS=own.states_TS + 100 * (np.arange(len(own.states_TS)) > 5)[:, None])
    assert chain.judge(measure(video, teleport, CRITICS)).reason.startswith("path: largest step")


def test_digests_change_with_the_limits(real: list[Measured]) -> None:
    one, other = (fit_chain(CRITICS, real[:count], {}).digests for count in (20, 30))
    assert one.keys() == set(CRITICS)
    assert all(one[name] != other[name] for name in CRITICS)
    assert fit_chain(CRITICS, real[:20], {}).digests == one


def test_held_out_clips_are_preferred(dataset: Dataset) -> None:
    many = replace(dataset, held_out=dataset.held_out * 10)
    chosen = choose_real_clips(many, "data")
    assert (len(chosen.clips), chosen.held_out) == (MAX_CLIPS, True)
    few = choose_real_clips(dataset, "data")
    assert (few.clips, few.held_out) == (tuple(dataset.clips), False)
    with pytest.raises(DataError, match="at least 8 real clips; there are 2"):
        choose_real_clips(replace(dataset, train=dataset.train[:2], held_out=[]), "data")
