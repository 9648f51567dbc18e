"""The held-out loss and its parts, against means computed by hand for one clip, mode and noise level at a time."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from worldtune.data.clip import Clip
from worldtune.data.video.footage import VideoFootage
from worldtune.latents.dataset import LatentClip, load_batch
from worldtune.latents.store import Entry
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.data.sampling_noise import held_out_draws
from worldtune.training.distributed import Distributed
from worldtune.training.flow_matching_loss import loss_per_clip
from worldtune.training.validation.held_out_loss import HeldOutLosses, held_out_losses, measure_held_out

MODES = ["image2world", "video2world"]
SIGMAS = 3


def losses_one_by_one(world: World, clips: list[LatentClip]) -> Tensor:
    """Return loss_CMS, with every element computed alone."""
    loss_CMS = torch.empty(len(clips), len(MODES), SIGMAS)
    with torch.no_grad():
        for c, clip in enumerate(clips):
            z_BCTHW, text_BND = load_batch([clip])
            for m, mode in enumerate(MODES):
                for s in range(SIGMAS):
                    draws = held_out_draws(z_BCTHW, mode, 5.0, (s + 0.5) / SIGMAS, [c])
                    loss_CMS[c, m, s] = loss_per_clip(world, z_BCTHW, text_BND, draws)[0]
    return loss_CMS


def with_two_cameras(data: TrainingData) -> list[LatentClip]:
    """Return all clips, the odd ones as if another camera had recorded the previous episode."""
    clips = data.train + data.held_out
    return [
        replace(latent, clip=replace(latent.clip, camera="wrist", episode=clips[n - 1].clip.episode))
        if n % 2
        else latent
        for n, latent in enumerate(clips)
    ]


class Alone(Distributed):
    """One of several processes, without communication."""

    def all_reduce(self, x: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(("count", "batch", "passes"), [(1, 2, 1), (3, 1, 2), (5, 2, 2)])
def test_all_replicas_run_the_same_number_of_passes(
    world: World, data: TrainingData, count: int, batch: int, passes: int
) -> None:
    """With a sharded base each pass needs all processes."""
    for rank in range(2):
        computed: list[nn.Module] = []
        handle = world.denoiser.patch_embed.register_forward_hook(lambda module, *_, n=computed: n.append(module))
        measure_held_out(world, data.train[:count], ["image2world"], 1, 5.0, batch, Alone(rank, 2))
        handle.remove()
        assert len(computed) == passes


def mean(losses: Iterable[Tensor]) -> float:
    return torch.cat([loss.flatten() for loss in losses]).double().mean().item()


def test_losses_match_a_computation_one_by_one(world: World, data: TrainingData) -> None:
    clips = with_two_cameras(data)
    found = measure_held_out(world, clips, MODES, SIGMAS, 5.0, batch=3)
    torch.testing.assert_close(found.loss_CMS, losses_one_by_one(world, clips), rtol=1e-4, atol=1e-5)
    assert not found.loss_CMS.requires_grad
    assert found.mean == pytest.approx(mean(found.loss_CMS), rel=1e-12)
    one_mode = held_out_losses(world, clips, MODES[1], SIGMAS, 5.0, batch=3)
    shares = [measure_held_out(world, clips, MODES, SIGMAS, 5.0, 3, Alone(rank, 3)).loss_CMS for rank in range(3)]
    torch.testing.assert_close(sum(shares), found.loss_CMS, rtol=1e-4, atol=1e-5)
    assert one_mode == pytest.approx([mean(loss_MS[1]) for loss_MS in found.loss_CMS], rel=1e-6)


def test_parts_match_means_by_hand(world: World, data: TrainingData) -> None:
    clips = with_two_cameras(data)
    found = measure_held_out(world, clips, MODES, SIGMAS, 5.0, batch=8)
    loss_CMS, parts = found.loss_CMS, found.parts()
    by_hand = {
        "task": {
            name: mean(loss_CMS[c] for c, one in enumerate(clips) if one.clip.task == name)
            for name in {one.clip.task for one in clips}
        },
        "camera": {
            "observation.images.scene": mean(loss_CMS[0::2]),
            "wrist": mean(loss_CMS[1::2]),
        },
        "mode": {"image2world": mean(loss_CMS[:, 0]), "video2world": mean(loss_CMS[:, 1])},
        "sigma": {"1/3": mean(loss_CMS[:, :, 0]), "2/3": mean(loss_CMS[:, :, 1]), "3/3": mean(loss_CMS[:, :, 2])},
    }  # fmt: skip
    assert len(by_hand["task"]) == 2
    assert {kind: {name: one["mean"] for name, one in part.items()} for kind, part in parts.items()} == {
        kind: pytest.approx(part, rel=1e-6) for kind, part in by_hand.items()
    }
    for part in parts.values():
        for one in part.values():
            assert one["low"] < one["mean"] < one["high"]
    assert [one["clips"] for one in parts["camera"].values()] == [4, 4]
    assert {one["clips"] for kind in ("mode", "sigma") for one in parts[kind].values()} == {8}
    for kind in ("camera", "mode", "sigma"):  # equal parts: their mean is that of all
        assert mean(torch.tensor([one["mean"]]) for one in parts[kind].values()) == pytest.approx(found.mean, rel=1e-6)


def clip(number: int, task: str = "t", camera: str = "c", episode: str | None = None) -> LatentClip:
    its = Clip("here", episode or str(number), camera, task, "", VideoFootage(Path()), (number,), 16, 8, 8, "stretch")
    return LatentClip(its, Entry(Path(), "z", ""), Entry(Path(), "text", ""))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("cd"), st.floats(0, 9)), min_size=1, max_size=12))
def test_parts_weigh_every_clip_equally(seen: list[tuple[str, str, float]]) -> None:
    clips = [clip(number, task, camera) for number, (task, camera, _) in enumerate(seen)]
    loss_CMS = torch.tensor([loss for *_, loss in seen])[:, None, None] + torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    found = HeldOutLosses(clips, MODES, loss_CMS)
    parts = found.parts()
    for kind, place in (("task", 0), ("camera", 1)):
        assert list(parts[kind]) == sorted({one[place] for one in seen})
        for name, one in parts[kind].items():
            its = [loss for *names, loss in seen if names[place] == name]
            assert one["mean"] == pytest.approx(1.5 + sum(its) / len(its), rel=1e-5)
            assert one["clips"] == len(its)
        weighed = sum(one["mean"] * one["clips"] for one in parts[kind].values()) / len(seen)
        assert weighed == pytest.approx(found.mean, rel=1e-5)
    assert parts["mode"]["video2world"]["mean"] == pytest.approx(parts["mode"]["image2world"]["mean"] + 2, rel=1e-5)
    assert parts["sigma"]["2/2"]["mean"] == pytest.approx(parts["sigma"]["1/2"]["mean"] + 1, rel=1e-5)


def test_interval_is_over_episodes_and_needs_two() -> None:
    """Copies of clips within their episodes do not change the interval."""
    losses = torch.tensor([1.0, 2.0, 4.0, 8.0, 3.0, 5.0])[:, None, None].expand(-1, 2, 2)
    once = HeldOutLosses([clip(n) for n in range(6)], MODES, losses).parts()["mode"]["image2world"]
    copies = [clip(10 * n + copy, episode=str(n)) for n in range(6) for copy in range(5)]
    often = HeldOutLosses(copies, MODES, losses.repeat_interleave(5, 0)).parts()["mode"]["image2world"]
    assert (once["low"], once["high"]) == pytest.approx((often["low"], often["high"]))
    assert (once["clips"], often["clips"]) == (6, 30)
    alone = HeldOutLosses([clip(n, episode="0") for n in range(6)], MODES, losses).parts()["task"]["t"]
    assert (alone["mean"], alone["low"], alone["high"]) == (pytest.approx(23 / 6), None, None)


def test_same_episode_name_in_two_datasets_is_two_episodes() -> None:
    """Mixed datasets all have an episode 000000."""
    clips = [replace(one, clip=replace(one.clip, source=source)) for one in [clip(0)] for source in ("here", "there")]
    part = HeldOutLosses(clips, MODES, torch.tensor([1.0, 2.0])[:, None, None].expand(-1, 2, 2)).parts()["task"]["t"]
    assert part["low"] is not None
    assert part["low"] < 1.0 < 2.0 < part["high"]  # two episodes give a wide interval
