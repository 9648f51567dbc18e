"""The chain of critics: what each measures, and the first limit that a video leaves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worldtune.core.code_digest import code_digest
from worldtune.core.files import digest_json
from worldtune.core.settings import StrictModel
from worldtune.dreams.critics.limits import Limit, Rule, fit_limit, required_factor
from worldtune.dreams.critics.path import RULES as PATH_RULES
from worldtune.dreams.critics.path import Array, PathScale, fit_scale, measure_path, path_of
from worldtune.dreams.critics.video import ANOMALY_RULE, MOTION_RULES, measure_anomaly, measure_motion
from worldtune.dreams.idm.labels import Labels
from worldtune.dreams.request import CriticName
from worldtune.evaluation.metrics.video_features import VideoFeatures

DISAGREEMENT_RULES = {"mean": Rule(side="at most", least=0.01), "largest": Rule(side="at most", least=0.02)}
Values = dict[str, float]


@dataclass(frozen=True, eq=False)
class Measured:
    """What the critics measure in a video before limits are known: values by critic, and the path."""

    values: Mapping[str, Values]
    path_TS: Array


@dataclass(frozen=True)
class Verdict:
    """What the critics measured, and the limits that the video leaves, both by CRITIC.VALUE."""

    values: Values
    faults: Mapping[str, str]

    @property
    def reason(self) -> str:
        """Why the video is rejected, "" if it is kept."""
        return next(iter(self.faults.values()), "")


class Chain(StrictModel):
    """Critics with their limits, in order.

    `factors`, by CRITIC.VALUE: how far the limits lie beyond the real clips' quantiles.
    """

    critics: tuple[CriticName, ...]
    factors: dict[str, float]
    scale: PathScale | None
    limits: dict[str, dict[str, Limit]]

    @property
    def digests(self) -> dict[str, str]:
        """A digest of each critic: its limits and its code."""
        code = code_digest(__name__)
        return {
            name: digest_json(
                [
                    {value: limit.model_dump() for value, limit in self.limits[name].items()},
                    self.scale.model_dump() if name == "path" and self.scale else None,
                    code,
                ]
            )
            for name in self.critics
        }

    def judge(self, measured: Measured) -> Verdict:
        """Return all values and the faults of a video."""
        values: Values = {}
        faults: dict[str, str] = {}
        for critic in self.critics:
            for name, value in _values(critic, measured, self.scale).items():
                values[f"{critic}.{name}"] = value
                if fault := self.limits[critic][name].fault(value):
                    faults[f"{critic}.{name}"] = f"{critic}: {name} {fault}"
        return Verdict(values, faults)


def measure(features: VideoFeatures, labels: Labels, critics: Sequence[CriticName]) -> Measured:
    """Return what the critics measure in a video and its labels."""
    values: dict[str, Values] = {}
    if "motion" in critics:
        values["motion"] = measure_motion(features)
    if "anomaly" in critics:
        values["anomaly"] = measure_anomaly(features)
    if "disagreement" in critics:
        spread_I = labels.spread_I
        values["disagreement"] = {"mean": float(spread_I.mean()), "largest": float(spread_I.max())}
    return Measured(values, path_of(labels))


def fit_chain(critics: Sequence[CriticName], real: Sequence[Measured], factors: Mapping[str, float]) -> Chain:
    """Return the chain whose limits are fitted to real clips; a value without a factor has 1."""
    scale = fit_scale([clip.path_TS for clip in real]) if "path" in critics else None
    limits: dict[str, dict[str, Limit]] = {}
    for critic in critics:
        clips = [_values(critic, clip, scale) for clip in real]
        limits[critic] = {
            name: fit_limit(_rule(critic, name), [clip[name] for clip in clips], factors.get(f"{critic}.{name}", 1.0))
            for name in clips[0]
        }
    return Chain(critics=tuple(critics), factors=dict(factors), scale=scale, limits=limits)


def required_factors(critics: Sequence[CriticName], real: Sequence[Measured], clip: Measured) -> dict[str, float]:
    """Return by CRITIC.VALUE the smallest factor with which limits fitted to `real` accept the clip."""
    scale = fit_scale([other.path_TS for other in real]) if "path" in critics else None
    required: dict[str, float] = {}
    for critic in critics:
        others = [_values(critic, other, scale) for other in real]
        for name, value in _values(critic, clip, scale).items():
            rule = _rule(critic, name)
            required[f"{critic}.{name}"] = required_factor(rule, [other[name] for other in others], value)
    return required


def _values(critic: CriticName, measured: Measured, scale: PathScale | None) -> Values:
    if critic != "path":
        return measured.values[critic]
    assert scale is not None
    return measure_path(measured.path_TS, scale)


def _rule(critic: CriticName, value: str) -> Rule:
    if critic == "anomaly":
        return ANOMALY_RULE
    rules = {"motion": MOTION_RULES, "path": PATH_RULES, "disagreement": DISAGREEMENT_RULES}[critic]
    return rules[value]
