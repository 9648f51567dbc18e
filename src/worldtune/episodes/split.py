"""The split: whole episodes, every task in proportion, the same for the same seed whatever the order."""

from collections import defaultdict
from collections.abc import Mapping
from fractions import Fraction
from math import floor

from worldtune.files import digest_json


def held_out_episodes(task_of: Mapping[str, str], share: float, seed: int) -> set[str]:
    """The episodes to hold out, from each episode's task text.

    In all round(share · episodes), at least one when share > 0, divided over the tasks by largest
    remainder. Within a task, and between tasks with equal remainders, a hash of (seed, name)
    decides: neither the order of the episodes nor Python's hash seed matters.
    """
    if share == 0 or not task_of:
        return set()
    by_task: dict[str, list[str]] = defaultdict(list)
    for episode, task in task_of.items():
        by_task[task].append(episode)
    exact = Fraction(str(share))
    quota = {task: exact * len(episodes) for task, episodes in by_task.items()}
    count = {task: floor(q) for task, q in quota.items()}
    total = max(1, floor(exact * len(task_of) + Fraction(1, 2)))
    by_remainder = sorted(by_task, key=lambda task: (floor(quota[task]) - quota[task], digest_json([seed, task])))
    for task in by_remainder[: total - sum(count.values())]:
        count[task] += 1
    return {
        episode
        for task, episodes in by_task.items()
        for episode in sorted(episodes, key=lambda name: digest_json([seed, name]))[: count[task]]
    }
