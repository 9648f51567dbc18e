from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from worldtune.data.clip import Clip
from worldtune.data.video.footage import VideoFootage
from worldtune.latents.dataset import ClipOrder, LatentClip, load_batch
from worldtune.latents.store import LatentStore


@given(st.integers(1, 30), st.integers(0, 1000), st.integers(0, 5))
def test_every_epoch_has_every_clip_once(count: int, seed: int, epoch: int) -> None:
    order = ClipOrder(count, seed)
    assert sorted(order[epoch * count + i] for i in range(count)) == list(range(count))


@given(st.integers(1, 30), st.integers(0, 1000), st.lists(st.integers(0, 200), min_size=1))
def test_clip_order_has_no_state(count: int, seed: int, samples: list[int]) -> None:
    order = ClipOrder(count, seed)
    assert [order[n] for n in samples] == [ClipOrder(count, seed)[n] for n in samples]


def test_epochs_and_seeds_shuffle_differently() -> None:
    orders = [[ClipOrder(20, seed)[epoch * 20 + i] for i in range(20)] for seed in (1, 2) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_batch_keeps_the_order_of_clips(tmp_path: Path) -> None:
    store = LatentStore(tmp_path)
    clip = Clip("here", "0", "c", "", "", VideoFootage(tmp_path), (0,), 16, 8, 8, "stretch")
    z = {n: torch.full((2, 1, 1, 1), float(n)) for n in range(3)}
    text = {n: torch.full((4, 5), -float(n)) for n in range(3)}
    clips = [LatentClip(clip, store.save(z[n], {"z": n}), store.save(text[n], {"text": n})) for n in range(3)]
    z_BCTHW, text_BND = load_batch([clips[2], clips[0]])
    assert torch.equal(z_BCTHW, torch.stack([z[2], z[0]]))
    assert torch.equal(text_BND, torch.stack([text[2], text[0]]))
