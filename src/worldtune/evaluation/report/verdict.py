"""The outcome in plain words: one sentence a person can act on, and the sentences under it."""

from dataclasses import dataclass
from typing import Literal

from worldtune.evaluation.case import BASE_DOMAIN
from worldtune.evaluation.comparison import FROZEN, Comparison
from worldtune.statistics import Paired

Tone = Literal["good", "bad", "unsure"]
STILL = 0.5
"""A video with less than half of the real motion is called out."""
WILD = 2.0
"""So is one with more than twice of it."""


@dataclass(frozen=True)
class Statement:
    """A sentence and whether it is good news for the adapter."""

    text: str
    tone: Tone


def verdict(comparison: Comparison, subject: str) -> Statement:
    """The headline: is the subject better than the base, on how many clips, by how much."""
    rival = comparison.reference_candidate
    return _statement(f"The {_adapter(subject)}", _named(rival), comparison.gain(subject))


def remarks(comparison: Comparison, subject: str) -> list[Statement]:
    """What belongs under the headline: the frozen-frame control, the motion, and the base domain if it was tried."""
    base = comparison.reference_candidate
    said = [
        _statement(f"The {_adapter(subject)}", "a frozen first frame", comparison.gain(subject, against=FROZEN)),
        _statement(_capital(_named(base)), "a frozen first frame", comparison.gain(base, against=FROZEN)),
        _motion(comparison, subject),
    ]
    forgotten = next((group for group in comparison.domains if group.name == BASE_DOMAIN), None)
    if forgotten is not None and forgotten.cases != comparison.headline.cases:
        gain = forgotten.results[subject].against[base]["psnr_db"]
        said.append(_statement(f"On the base domain, the {_adapter(subject)}", _named(base), gain))
    return said


def signed(value: float, digits: int = 1) -> str:
    """A number with its sign and a real minus: "+3.0", "−0.4"."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "+")


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """The interval in brackets, "[2.6, 3.4]"; empty when there is none."""
    if low is None or high is None:
        return ""
    return f"[{low:.{digits}f}, {high:.{digits}f}]".replace("-", "−")


def _statement(who: str, rival: str, gain: Paired) -> Statement:
    several = f" ({gain.episodes} episodes)" if gain.episodes < gain.n else ""
    clips = f"{gain.wins} of {gain.n} clips{several}"
    if gain.mean is None:
        return Statement(f"{who} cannot be compared with {rival}: no clip has both.", "unsure")
    amount = f"{signed(gain.mean)} dB {interval(gain.low, gain.high)}".strip()
    match gain.verdict:
        case "better":
            return Statement(f"{who} is better than {rival} on {clips}: {amount}.", "good")
        case "worse":
            lost = f"{gain.losses} of {gain.n} clips{several}"
            return Statement(f"{who} is worse than {rival} on {lost}: {amount}.", "bad")
        case "no difference shown":
            text = f"{who} shows no difference from {rival}: {amount}, better on {clips}."
            return Statement(text, "unsure")
        case "too few clips to tell":
            text = f"{who} was tried on too few clips to tell it from {rival}: {amount}, better on {clips}."
            return Statement(text, "unsure")


def _motion(comparison: Comparison, subject: str) -> Statement:
    mine = comparison.headline.results[subject].means["motion_ratio"].mean
    base = comparison.headline.results[comparison.reference_candidate].means["motion_ratio"].mean
    if mine is None or base is None:
        return Statement("The reference clips do not move, so motion was not judged.", "unsure")
    beside = f"(1.00 is right; {_named(comparison.reference_candidate)} {base:.2f})"
    text = f"It moves {mine:.2f} times as much as the real video {beside}."
    return Statement(text, "good" if STILL <= mine <= WILD else "bad")


def _named(candidate: str) -> str:
    return "the base" if candidate == "base" else candidate


def _adapter(subject: str) -> str:
    return subject if subject.lower().endswith("adapter") else f"{subject} adapter"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
