"""The outcome in words: the verdict as a headline, and the remarks below it."""

from dataclasses import dataclass
from typing import Literal

from worldtune.core.statistics import CONFIDENCE_LEVEL, PairedComparison, sign_test
from worldtune.evaluation.cases.case import BASE_DOMAIN
from worldtune.evaluation.results import CODEC, FROZEN, Comparison

Tone = Literal["good", "bad", "unsure"]
FROZEN_FRAME = "a frozen first frame"
MIN_MOTION = 0.5
"""A smaller motion ratio is reported as bad."""
MAX_MOTION = 2.0
"""A larger motion ratio is reported as bad."""
MIN_SLOPE = 0.5
"""If the whole interval of the end-point slope is smaller, it is reported as bad."""
CODEC_MARGIN_DB = 3.0
"""If a candidate is this close to the codec round trip, more than half of its squared error is the codec's."""


@dataclass(frozen=True)
class Statement:
    """A sentence and its tone: whether it is good news for the adapter."""

    text: str
    tone: Tone


def verdict(comparison: Comparison, subject: str) -> Statement:
    """Return the headline: whether the subject is better than the base, on how many clips, and by how much.

    If the subject is worse than a frozen first frame, this comes first. If the base's codec limits it, this comes last.
    """
    who, base = f"The {_adapter_name(subject)}", _display_name(comparison.reference_candidate)
    frozen = comparison.gain(subject, against=FROZEN)
    if is_worse(frozen):
        statements = [_worse_statement(who, FROZEN_FRAME, frozen), _statement("It", base, comparison.gain(subject))]
    else:
        statements = [_statement(who, base, comparison.gain(subject))]
    limit = codec_limit(comparison, subject)
    return Statement(
        " ".join([*(statement.text for statement in statements), *([limit] if limit else [])]), statements[0].tone
    )


def is_worse(gain: PairedComparison) -> bool:
    """Return whether a candidate is worse by its mean, or on significantly many clips (sign test)."""
    return gain.verdict == "worse" or (
        gain.losses > gain.wins and sign_test(gain.wins, gain.losses) < 1 - CONFIDENCE_LEVEL
    )


def codec_limit(comparison: Comparison, subject: str) -> str | None:
    """Return a sentence if the codec's own loss limits the subject; None if not, or if it was not measured."""
    if CODEC not in comparison.candidates:
        return None
    codec, subject_db, frozen = (_psnr(comparison, name) for name in (CODEC, subject, FROZEN))
    the_limit = f"The base's codec is the limit: the real video through its VAE and back has {codec:.1f} dB"
    if codec <= frozen:
        return f"{the_limit}, a frozen first frame {frozen:.1f} dB, so an adapter of this base can hardly beat it."
    if subject_db <= codec - CODEC_MARGIN_DB:
        return None
    return f"{the_limit}, the {_adapter_name(subject)} {subject_db:.1f} dB."


def remarks(comparison: Comparison, subject: str) -> list[Statement]:
    """Return the sentences below the headline: controls, codec, motion, layouts and base domain if they were tested.

    Sentences that the headline already contains are omitted.
    """
    base = comparison.reference_candidate
    frozen = comparison.gain(subject, against=FROZEN)
    statements = [] if is_worse(frozen) else [_statement(f"The {_adapter_name(subject)}", FROZEN_FRAME, frozen)]
    statements.append(_statement(_capitalize(_display_name(base)), FROZEN_FRAME, comparison.gain(base, against=FROZEN)))
    statements += codec_loss(comparison, subject)
    statements.append(_motion_statement(comparison, subject))
    statements += _layout_statements(comparison, subject)
    forgotten = next((group for group in comparison.domains if group.name == BASE_DOMAIN), None)
    if forgotten is not None and forgotten.cases != comparison.headline.cases:
        gain = forgotten.results[subject].against[base]["psnr_db"]
        statements.append(_statement(f"On the base domain, the {_adapter_name(subject)}", _display_name(base), gain))
    return statements


def signed(value: float, digits: int = 1) -> str:
    """Return a number with its sign and a real minus: "+3.0", "−0.4"."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text.replace("-", "+")


def interval(low: float | None, high: float | None, digits: int = 1) -> str:
    """Return the interval in brackets, "[2.6, 3.4]"; empty if there is none."""
    if low is None or high is None:
        return ""
    return f"[{low:.{digits}f}, {high:.{digits}f}]".replace("-", "−")


def _statement(who: str, baseline: str, gain: PairedComparison) -> Statement:
    several = f" ({gain.episodes} episodes)" if gain.episodes < gain.n else ""
    clips = f"{gain.wins} of {gain.n} clips{several}"
    if gain.mean is None:
        return Statement(f"{who} cannot be compared with {baseline}: no clip has values of both.", "unsure")
    amount = f"{signed(gain.mean)} dB {interval(gain.low, gain.high)}".strip()
    match gain.verdict:
        case "better":
            return Statement(f"{who} is better than {baseline} on {clips}: {amount}.", "good")
        case "worse":
            return _worse_statement(who, baseline, gain)
        case "no difference shown":
            text = f"{who} shows no difference from {baseline}: {amount}, better on {clips}."
            return Statement(text, "unsure")
        case "too few clips to tell":
            text = f"{who} has too few clips for a comparison with {baseline}: {amount}, better on {clips}."
            return Statement(text, "unsure")


def _worse_statement(who: str, baseline: str, gain: PairedComparison) -> Statement:
    several = f" ({gain.episodes} episodes)" if gain.episodes < gain.n else ""
    amount = f"{signed(gain.mean or 0)} dB {interval(gain.low, gain.high)}".strip()
    return Statement(f"{who} is worse than {baseline} on {gain.losses} of {gain.n} clips{several}: {amount}.", "bad")


def codec_loss(comparison: Comparison, subject: str) -> list[Statement]:
    """Return a sentence on the PSNR of the codec round trip, the base and the subject, if it was measured."""
    if CODEC not in comparison.candidates:
        return []
    base = comparison.reference_candidate
    codec, base_db, subject_db = (_psnr(comparison, name) for name in (CODEC, base, subject))
    text = f"The codec round trip has {codec:.1f} dB, {_display_name(base)} has {base_db:.1f} dB, "
    text += f"and the {_adapter_name(subject)} has {subject_db:.1f} dB."
    return [Statement(text, "unsure" if codec_limit(comparison, subject) else "good")]


def _psnr(comparison: Comparison, candidate: str) -> float:
    """Return the PSNR in dB over the headline's clips."""
    mean = comparison.headline.results[candidate].means["psnr_db"].mean
    assert mean is not None  # every clip has one
    return mean


def _motion_statement(comparison: Comparison, subject: str) -> Statement:
    ratio = comparison.headline.results[subject].means["motion_ratio"].mean
    base_ratio = comparison.headline.results[comparison.reference_candidate].means["motion_ratio"].mean
    if ratio is None or base_ratio is None:
        return Statement("The reference clips do not move, so motion was not measured.", "unsure")
    comparison_text = f"(1.00 is right; {_display_name(comparison.reference_candidate)}: {base_ratio:.2f})"
    text = f"It moves {ratio:.2f} times as much as the real video {comparison_text}."
    return Statement(text, "good" if MIN_MOTION <= ratio <= MAX_MOTION else "bad")


def _layout_statements(comparison: Comparison, subject: str) -> list[Statement]:
    """Return a sentence on the end points about their mean over a task's clips, if they were measured."""
    means, base = comparison.headline.results[subject].means, comparison.reference_candidate
    slope = means.get("end_point_slope")
    if slope is None or slope.mean is None:
        return []
    base_slope = comparison.headline.results[base].means["end_point_slope"].mean
    shown = f"{_number(slope.mean)} {interval(slope.low, slope.high, 2)}".rstrip()
    known = f"; {_display_name(base)}: {_number(base_slope)}" if base_slope is not None else ""
    text = f"Its end points differ between a task's clips {shown} times as much as the real ones, in the same direction"
    error = means["end_point_over_spread"].mean
    spread = f", and their error is {_number(error)} of the real ones' spread" if error is not None else ""
    tone: Tone = "good" if slope.mean >= MIN_SLOPE else "unsure"
    if slope.high is not None and slope.high < MIN_SLOPE:
        tone = "bad"
    return [Statement(f"{text} (1.00 is right{known}){spread}.", tone)]


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _display_name(candidate: str) -> str:
    return "the base" if candidate == "base" else candidate


def _adapter_name(subject: str) -> str:
    return subject if subject.lower().endswith("adapter") else f"{subject} adapter"


def _capitalize(text: str) -> str:
    return text[:1].upper() + text[1:]
