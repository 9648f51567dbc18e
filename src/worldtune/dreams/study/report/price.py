"""What dreams are worth, and what they cost for each point of success that is gained."""

from collections.abc import Iterator

from worldtune.dreams.study.report.words import arm_name, duration, many, points
from worldtune.dreams.study.saved_results import StudyResults

TRAINED = ("lora", "idm")


def price(study: StudyResults, task: str) -> Iterator[str]:
    """Yield sentences about a task: equivalent demonstrations, seconds, rejected dreams, GPU-hours of a large base."""
    results, settings = study.tasks[task], study.settings
    gain = results.difference("lora", "real")
    own = [counts for counts in study.critics if (counts.arm, counts.task) == ("lora", task)]
    if gain is None or not own:
        return
    if results.worth is not None:
        yield _worth(study, task)
    draws = len(own)
    dreaming = sum(counts.seconds for counts in own) / draws
    training = sum(_mean_seconds(study, stage) for stage in TRAINED)
    dreams = sum(counts.dreams for counts in own)
    rejected = 1 - sum(counts.kept for counts in own) / dreams
    shared = many(len(settings.adapter_tasks), "task")
    yield (
        f"A draw takes {duration(training)} to train the LoRA and the IDM, once for {shared}, and {duration(dreaming)} "
        f"to make {many(dreams // draws, 'dream')} of this task on {study.machine['processor']}. The critics reject "
        f"{rejected:.0%} of the dreams."
    )
    if gain.low <= 0:
        yield f"A gain is not shown ({points(gain)}), so there is no price for a point of success."
        return
    gained = 100 * gain.mean
    yield (
        f"For each point of success gained ({points(gain)}): {(training + dreaming) / gained:.1f} s, training counted "
        f"in full, and {100 * rejected / gained:.2f}% of the dreams rejected."
    )
    if study.forecast is not None:
        hours = f"{study.forecast.gpu_hours / gained:.2g}"
        yield f"If the gain were the same, the large base below would dream {hours} GPU-hours for each point."


def forecast_sentence(study: StudyResults) -> str:
    """Return what the dreams of a task would need with a large base, "" if no dreams were made."""
    forecast = study.forecast
    if forecast is None:
        return ""
    return (
        f"Planned for {forecast.base} on one {forecast.gpu} at {forecast.utilization:.0%} of its peak speed: "
        f"{forecast.gpu_hours:.2g} GPU-hours and {forecast.disk_gib:.2g} GiB for {many(forecast.dreams, 'dream')} of "
        f"{forecast.frames} frames of {forecast.height}×{forecast.width} pixels, {forecast.evaluations} evaluations of "
        "the denoiser each, without guidance. Training an adapter of it is not included. The plan is computed, not "
        "measured; the gain with a large base was not measured either."
    )


def _mean_seconds(study: StudyResults, stage: str) -> float:
    """Return the mean seconds of a stage over the draws that recorded them."""
    seconds = [
        study.seconds[key] for draw in range(study.settings.draws) if (key := f"{stage}-{draw}") in study.seconds
    ]
    return sum(seconds) / len(seconds)


def _worth(study: StudyResults, task: str) -> str:
    worth = study.tasks[task].worth
    assert worth is not None
    count, own = worth.demonstrations, study.settings.demonstrations
    mixture = arm_name(study.settings, "lora")
    if worth.bound == "at most":
        alone = many(own, "real demonstration")
        return f"{mixture} succeed no more often than {alone} alone: the dreams are worth none."
    if worth.bound == "more than":
        return f"{mixture} succeed more often than {count:.0f} real demonstrations, the most that were tried."
    return (
        f"{mixture} succeed as often as about {count:.1f} real demonstrations (interpolated over the logarithm of "
        f"their number): the dreams are worth about {count - own:.1f} demonstrations."
    )
