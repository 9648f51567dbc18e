"""Wrong actions: a held-out clip's first frame and prompt, with the actions of another task's clip.

A model that obeys moves as the other clip; one that ignores actions moves as the first frame and the prompt suggest.
"""

from collections.abc import Sequence
from dataclasses import replace

from worldtune.latents.dataset import LatentClip


def give_wrong_actions(clips: Sequence[LatentClip]) -> list[tuple[LatentClip, LatentClip]]:
    """Return each clip with the actions of a clip of another task, and that other clip.

    The clips are permuted: with the same number of clips of each task, every clip's actions are used once. Return []
    if there are fewer than two tasks, or a clip has no actions.
    """
    tasks = sorted({latent.clip.task for latent in clips})
    if len(tasks) < 2 or any(latent.clip.actions is None for latent in clips):
        return []
    by_task = {task: [latent for latent in clips if latent.clip.task == task] for task in tasks}
    following = dict(zip(tasks, [*tasks[1:], tasks[0]], strict=True))
    given: dict[str, list[LatentClip]] = {task: [] for task in tasks}
    pairs = []
    for latent in clips:
        others, used = by_task[following[latent.clip.task]], given[latent.clip.task]
        other = others[len(used) % len(others)]
        used.append(other)
        pairs.append((replace(latent, clip=replace(latent.clip, actions=other.clip.actions)), other))
    return pairs
