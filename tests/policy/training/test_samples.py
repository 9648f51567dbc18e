import numpy as np
import pytest
import torch

from policy.conftest import make_episode
from worldtune.policy.spec import PolicySpec
from worldtune.policy.training.samples import collect_samples, draw_batches, interval_outputs


def test_displacement_is_the_difference_of_positions_and_the_gripper_command() -> None:
    episode = make_episode(frames=5)
    output_IO = interval_outputs(episode, PolicySpec())
    assert output_IO.shape == (4, 4)
    assert output_IO[:, :3] == pytest.approx(episode.states_TS[1:, :3] - episode.states_TS[:-1, :3])
    assert np.array_equal(output_IO[:, 3], episode.actions_ID[:4, 3])
    assert np.array_equal(interval_outputs(episode, PolicySpec(output="command")), episode.actions_ID)


def test_chunk_is_masked_after_the_end_of_its_own_episode() -> None:
    first, second = make_episode("a", 4), make_episode("b", 3, seed=1)
    samples = collect_samples([first, second], PolicySpec(chunk=3))
    assert samples.known_NK.tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]]
    outputs = [interval_outputs(episode, PolicySpec()) for episode in (first, second)]
    assert np.array_equal(samples.targets_NKO[0], outputs[0][:3])
    assert np.array_equal(samples.targets_NKO[3, :2], outputs[1])


def test_sample_sees_its_frame_its_first_frame_and_the_gripper_command_before() -> None:
    first, second = make_episode("a", 4), make_episode("b", 3, seed=1)
    samples = collect_samples([first, second], PolicySpec())
    assert samples.first_N.tolist() == [0, 0, 0, 4, 4]
    assert samples.current_N.tolist() == [0, 1, 2, 4, 5]
    assert np.array_equal(samples.frames_NHWC[5], second.frames_THWC[1])
    assert np.array_equal(samples.position_NP[4], second.states_TS[1, :3])
    expected = [0, *first.actions_ID[:2, 3], 0, second.actions_ID[0, 3]]
    assert samples.gripper_N.tolist() == pytest.approx(expected)


def test_half_of_each_batch_is_synthetic() -> None:
    episodes = [make_episode("a", 4), make_episode("b", 9, seed=1, synthetic=True)]
    spec = PolicySpec(batch_size=8)
    samples = collect_samples(episodes, spec)
    batches = draw_batches(samples, spec, torch.Generator().manual_seed(0))
    assert [int(samples.synthetic_N[next(batches)].sum()) for _ in range(20)] == [4] * 20
    quarter = draw_batches(samples, PolicySpec(batch_size=8, synthetic_share=0.25), torch.Generator().manual_seed(0))
    assert int(samples.synthetic_N[next(quarter)].sum()) == 2


def test_batch_is_all_real_without_synthetic_episodes() -> None:
    samples = collect_samples([make_episode()], PolicySpec())
    batch = next(draw_batches(samples, PolicySpec(batch_size=8), torch.Generator().manual_seed(0)))
    assert len(batch) == 8
    assert not samples.synthetic_N[batch].any()
