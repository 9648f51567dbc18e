"""The card of a policy, `policy.json`: its settings, what it was trained on, and the digest of its weights."""

from collections.abc import Sequence
from typing import Literal

from worldtune.core.actions.space import ActionSpace
from worldtune.core.code_commit import code_commit
from worldtune.core.ranges import Count, Fps, PixelSize
from worldtune.core.settings import StrictModel
from worldtune.core.version import __version__
from worldtune.policy.episode import TrainingEpisode
from worldtune.policy.spec import PolicySpec

FORMAT: Literal[1] = 1


class EpisodeRecord(StrictModel):
    """A training episode: the SHA-256 of its content, and what a synthetic one was made of."""

    name: str
    digest: str
    frames: Count
    is_synthetic: bool
    lineage: dict[str, str]


class PolicyCard(StrictModel):
    """Everything needed to use the policy, and its origin.

    `state_size` and `output_size` are the numbers of a state and of an output of one interval. `episodes` are those
    before their idle ends are cut. `loss` is the mean of the last steps.
    """

    format: Literal[1] = FORMAT
    spec: PolicySpec
    prompt: str
    action_space: ActionSpace
    fps: Fps
    height: PixelSize
    width: PixelSize
    state_size: Count
    output_size: Count
    episodes: list[EpisodeRecord]
    loss: float
    weights_digest: str
    worldtune: str
    commit: str


def episode_records(episodes: Sequence[TrainingEpisode]) -> list[EpisodeRecord]:
    """Return the card's records of the episodes."""
    return [
        EpisodeRecord(
            name=episode.name,
            digest=episode.digest(),
            frames=len(episode.frames_THWC),
            is_synthetic=episode.is_synthetic,
            lineage=dict(episode.lineage),
        )
        for episode in episodes
    ]


def code_origin() -> dict[str, str]:
    """Return the card's fields about the code that trained the policy."""
    return {"worldtune": __version__, "commit": code_commit()}
