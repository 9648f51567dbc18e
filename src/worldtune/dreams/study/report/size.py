"""Whether a study is large enough to conclude from, and what it does not show."""

from collections.abc import Iterator

from worldtune.dreams.study.report.words import listed, many
from worldtune.dreams.study.saved_results import StudyResults
from worldtune.dreams.study.settings import StudySettings

MIN_DRAWS, MIN_POLICY_SEEDS, MIN_RESETS = 3, 2, 30


def why_too_small(settings: StudySettings) -> str:
    """Return why a study of these settings proves nothing, "" if it is large enough."""
    sizes = (
        (settings.draws, MIN_DRAWS, "draw of demonstrations", "draws of demonstrations"),
        (settings.policy_seeds, MIN_POLICY_SEEDS, "policy seed", "policy seeds"),
        (settings.resets, MIN_RESETS, "reset", "resets"),
    )
    return listed(
        [f"{many(size, one, more)} instead of at least {least}" for size, least, one, more in sizes if size < least]
    )


def not_shown(study: StudyResults) -> Iterator[str]:
    """Yield sentences about what a study leaves open."""
    settings = study.settings
    demonstrations = many(settings.demonstrations, "demonstration")
    yield (
        f"The study has {many(settings.draws, 'draw')} of demonstrations ({demonstrations} of each task), "
        f"{many(settings.policy_seeds, 'policy seed')} a draw and arm, and {many(settings.resets, 'reset')}, the same "
        "for every policy. Few draws say little about other demonstrations, although the intervals are widened for it."
    )
    missing = [
        level
        for level, size in (("draws", settings.draws), ("seeds", settings.policy_seeds), ("resets", settings.resets))
        if size == 1
    ]
    if missing:
        yield f"The intervals do not cover {listed(missing)}: there is only one."
    tasks = many(len(settings.tasks), "task")
    yield f"Policies of {tasks} were measured. The result says nothing about other tasks."
    yield (
        "There is one simulator (Meta-World), one robot, scripted experts, pictures of 64×64 pixels, and a camera "
        f"({settings.view}) that never moves. No real robot was used, and the base is a small one."
    )
    yield (
        "One small policy network was trained by behavior cloning, with the same settings for every arm. A "
        " larger or pretrained policy may gain more or less from dreams."
    )
    if study.figures:
        yield "Labels are replayed, and dreams shown, for the first draw only."
    if study.critics and not all(counts.held_out for counts in study.critics):
        yield (
            "The critics are calibrated on clips that the adapter was trained on, so that they may reject more of "
            "other real clips."
        )
    yield "The study compares intervals of each task alone; with several tasks and arms, some may miss by chance."
