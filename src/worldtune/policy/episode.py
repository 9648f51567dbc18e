"""The episodes that a policy learns from.

Shapes: T frames, I = T or T − 1 intervals, H, W pixels, S state numbers, D numbers of a mean command.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from worldtune.core.files import digest_bytes, digest_json
from worldtune.errors import DataError


@dataclass(frozen=True, eq=False)
class TrainingEpisode:
    """One demonstration: frames uint8 (T, H, W, 3), states (T, S), mean commands (I, D) of the intervals after frames.

    `lineage` says what a synthetic episode was made of: digests of the adapter, base, labels and so on, by name.
    """

    name: str
    prompt: str
    frames_THWC: np.ndarray
    states_TS: np.ndarray
    actions_ID: np.ndarray
    is_synthetic: bool = False
    lineage: Mapping[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Return the SHA-256 of the episode's content; its name does not matter."""
        parts = (self.frames_THWC, self.states_TS.astype(np.float32), self.actions_ID.astype(np.float32))
        arrays = [[list(part.shape), digest_bytes(np.ascontiguousarray(part).data.cast("B"))] for part in parts]
        return digest_json([self.prompt, self.is_synthetic, arrays])


def check_episodes(episodes: Sequence[TrainingEpisode]) -> None:
    """Raise DataError if the episodes cannot train one policy: shapes that do not fit, NaN, or several tasks."""
    if not any(not episode.is_synthetic for episode in episodes):
        raise DataError("no real episodes to train on", where="policy", hint="Give at least one real episode.")
    first = episodes[0]
    for episode in episodes:
        frames, states, actions = episode.frames_THWC, episode.states_TS, episode.actions_ID
        length = len(frames)
        if length < 2 or len(states) != length or len(actions) not in (length, length - 1):
            what = f"{length} frames, {len(states)} states and {len(actions)} actions do not belong together"
            raise DataError(what, where=episode.name, hint="Give at least 2 frames, a state each, an action each.")
        shapes = [(part.shape[1:], part.ndim) for part in (frames, states, actions)]
        expected = [(part.shape[1:], part.ndim) for part in (first.frames_THWC, first.states_TS, first.actions_ID)]
        if shapes != expected:
            what = f"frames, states and actions have other sizes than those of {first.name}"
            raise DataError(what, where=episode.name, hint="Give all episodes the same sizes.")
        if not (np.isfinite(states).all() and np.isfinite(actions).all()):
            raise DataError("states or actions are not finite", where=episode.name, hint="Remove the episode.")
        if episode.prompt != first.prompt:
            what = f"two tasks, {first.prompt!r} and {episode.prompt!r}, but the policy reads no text"
            raise DataError(what, where=episode.name, hint="Choose one task.")
