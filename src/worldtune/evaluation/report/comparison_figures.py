"""The figures that follow from a comparison alone. This module imports without torch."""

from worldtune.evaluation.results import FROZEN, Comparison

BASE_OVER_FROZEN = "base: PSNR over frozen first frame"


def gain_figures(comparison: Comparison, candidate: str) -> list[tuple[str, float | None, str]]:
    """Return name, value and unit of a candidate's PSNR figures and gains; for all of them higher is better."""
    gain, frozen = comparison.gain(candidate), comparison.gain(candidate, against=FROZEN)
    means = comparison.headline.results[candidate].means
    return [
        ("PSNR", means["psnr_db"].mean, "dB"),
        ("PSNR gain over the base", gain.mean, "dB"),
        ("PSNR gain, lower end of the 95 % interval", gain.low, "dB"),
        ("share of clips better than the base", gain.win_rate, ""),
        ("PSNR over frozen first frame", frozen.mean, "dB"),
        ("moving-region PSNR", means["moving_psnr_db"].mean, "dB"),
    ]


def comparison_figures(comparison: Comparison) -> dict[str, float | None]:
    """Return the value of each figure by its full name, for the base and every tested candidate."""
    base = comparison.reference_candidate
    figures = {
        f"{base}: PSNR": comparison.headline.results[base].means["psnr_db"].mean,
        BASE_OVER_FROZEN: comparison.gain(base, against=FROZEN).mean,
    }
    for candidate in comparison.tested_candidates:
        figures |= {f"{candidate}: {name}": value for name, value, _ in gain_figures(comparison, candidate)}
    return figures
