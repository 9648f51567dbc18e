from dataclasses import replace

import numpy as np
import pytest
import torch

from policy.conftest import make_episode
from worldtune.errors import DataError
from worldtune.policy.episode import TrainingEpisode
from worldtune.policy.protocol import Observation
from worldtune.policy.spec import PolicySpec
from worldtune.policy.training.train import masked_loss, train_policy

SHORT = PolicySpec(steps=8, batch_size=4)


def test_same_seed_gives_the_same_weights() -> None:
    episodes = [make_episode(), make_episode("b", seed=1, synthetic=True)]
    first, losses = train_policy(episodes, SHORT)
    torch.rand(3)  # the global generator must not matter
    second, again = train_policy(episodes, SHORT)
    other, _ = train_policy(episodes, SHORT.model_copy(update={"seed": 1}))
    assert losses == again
    for name, tensor in first.network.state_dict().items():
        assert torch.equal(tensor, second.network.state_dict()[name]), name
    assert not torch.equal(first.network.head[0].weight, other.network.head[0].weight)


def test_policy_learns_its_demonstration(episodes: list[TrainingEpisode]) -> None:
    spec = PolicySpec(steps=150, batch_size=16, idle_threshold=0)
    policy, losses = train_policy(episodes[:1], spec)
    assert np.mean(losses[-10:]) < 0.3 * losses[0]
    episode = episodes[0]
    policy.reset()
    errors, steps = [], []
    for t in range(12):
        seen = Observation(episode.frames_THWC[t], episode.frames_THWC[0], episode.states_TS[t], episode.prompt)
        chunk_KO = policy.act(seen)
        true_3 = episode.states_TS[t + 1, :3] - episode.states_TS[t, :3]
        errors.append(np.linalg.norm(chunk_KO[0, :3] - true_3))
        steps.append(np.linalg.norm(true_3))
    assert chunk_KO.shape == (2, 4)
    assert np.mean(errors) < 0.35 * np.mean(steps)


def test_network_has_fewer_than_300_000_parameters() -> None:
    policy, _ = train_policy([make_episode()], SHORT)
    assert 100_000 < sum(parameter.numel() for parameter in policy.network.parameters()) < 300_000


def test_masked_intervals_do_not_count() -> None:
    predicted, target = torch.zeros(2, 2, 3), torch.zeros(2, 2, 3)
    target[1, 1] = 1e6
    assert masked_loss(predicted, target, torch.tensor([[1.0, 1.0], [1.0, 0.0]])) == 0
    target[0, 0] = 0.5  # smooth L1: 0.125 in one of three known intervals
    assert masked_loss(predicted, target, torch.tensor([[1.0, 1.0], [1.0, 0.0]])) == pytest.approx(0.125 / 3)


def test_gripper_command_before_is_remembered_until_reset() -> None:
    policy, _ = train_policy([make_episode()], SHORT)
    seen = Observation(*(np.zeros((32, 32, 3), np.uint8),) * 2, np.zeros(4, np.float32), "move")
    first, second = policy.act(seen), policy.act(seen)
    assert not np.array_equal(first, second)
    policy.reset()
    assert np.array_equal(policy.act(seen), first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "push"}, "two tasks, 'move' and 'push'"),
        ({"states_TS": np.zeros((5, 4), np.float32)}, "6 frames, 5 states and 6 actions"),
        ({"states_TS": np.zeros((6, 3), np.float32)}, "other sizes than those of a"),
        ({"actions_ID": np.full((6, 4), np.nan, np.float32)}, "states or actions are not finite"),
    ],
)
def test_episodes_that_do_not_belong_together_are_an_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        train_policy([make_episode(), replace(make_episode("b", seed=1), **change)], SHORT)  # type: ignore[arg-type]
    assert error.value.where == "b"


def test_synthetic_episodes_alone_are_an_error() -> None:
    with pytest.raises(DataError, match="no real episodes"):
        train_policy([make_episode(synthetic=True)], SHORT)


def test_chunk_must_contain_the_executed_intervals() -> None:
    with pytest.raises(ValueError, match="executed is 3, but a chunk has 2 intervals"):
        PolicySpec(executed=3)
