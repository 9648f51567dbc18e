"""The figures that follow from a comparison alone, by the names that a report gives them. It loads without torch."""

from worldtune.evaluation.comparison import FROZEN, Comparison

BASE_OVER_FROZEN = "base: PSNR over frozen first frame"


def gain_figures(comparison: Comparison, candidate: str) -> list[tuple[str, float | None, str]]:
    """Name, value and unit of what a candidate gains over the base and over a frozen first frame; more is better."""
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


def compared_figures(comparison: Comparison) -> dict[str, float | None]:
    """The value of each such figure by its full name: those of the base, and of every judged candidate."""
    base = comparison.reference_candidate
    found = {
        f"{base}: PSNR": comparison.headline.results[base].means["psnr_db"].mean,
        BASE_OVER_FROZEN: comparison.gain(base, against=FROZEN).mean,
    }
    for candidate in comparison.judged:
        found |= {f"{candidate}: {name}": value for name, value, _ in gain_figures(comparison, candidate)}
    return found
