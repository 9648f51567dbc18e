from pathlib import Path

import torch

from support.stock import stock_forward
from worldtune.latents.dataset import load_batch
from worldtune.models.load import open_world
from worldtune.models.world import World
from worldtune.training.data.encode_datasets import TrainingData
from worldtune.training.data.sampling_noise import training_draws
from worldtune.training.flow_matching_loss import loss_per_clip, predict
from worldtune.training.recipe import Train
from worldtune.training.validation.held_out_loss import held_out_losses

MODES = {"text2world": 0.3, "image2world": 0.4, "video2world": 0.3}
SETTINGS = Train(modes=MODES, batch=6, text_dropout=0.0)
STEP = 3  # one in which all modes occur


@torch.no_grad()
def test_loss_matches_the_diffusers_forward(world: World, data: TrainingData) -> None:
    """x, the target and the mean in float64, clip by clip and frame by frame."""
    z_BCTHW, _ = load_batch(data.train)
    embeddings_BNE = world.text.embed([clip.clip.caption for clip in data.train])
    text_BND = world.encode_prompts([clip.clip.caption for clip in data.train])
    draws = training_draws(SETTINGS, 5.0, STEP, z_BCTHW.shape[1:], range(6))
    k_B = draws.cond_mask_BT.sum(1).int().tolist()
    assert set(k_B) == {0, 1, 2}
    z, noise, sigma_B = z_BCTHW.double(), draws.noise_BCTHW.double(), draws.sigma_B.double()
    x, sigma_BT = torch.empty_like(z), torch.empty(len(z), z.shape[2], dtype=torch.float64)
    for b, k in enumerate(k_B):
        x[b] = sigma_B[b] * noise[b] + (1 - sigma_B[b]) * z[b]
        x[b, :, :k], sigma_BT[b], sigma_BT[b, :k] = z[b, :, :k], sigma_B[b], 1e-4
    v = stock_forward(world.denoiser, x.float(), sigma_BT.float(), draws.cond_mask_BT, embeddings_BNE).double()
    expected = [((v[b] - noise[b] + z[b])[:, k:] ** 2).sum().item() / z[b].numel() for b, k in enumerate(k_B)]
    assert torch.allclose(
        loss_per_clip(world, z_BCTHW, text_BND, draws).double(), torch.tensor(expected).double(), rtol=1e-4
    )


def test_held_out_losses_do_not_depend_on_batch_size(world: World, data: TrainingData) -> None:
    clips = data.train + data.held_out
    losses = [held_out_losses(world, clips, "image2world", 3, 5.0, batch) for batch in (1, 3, 8)]
    assert len(losses[0]) == 8
    assert torch.allclose(torch.tensor(losses[0]), torch.tensor(losses[1]), rtol=1e-4)
    assert torch.allclose(torch.tensor(losses[0]), torch.tensor(losses[2]), rtol=1e-4)
    assert held_out_losses(world, clips, "image2world", 3, 5.0, 8) == losses[2]
    assert held_out_losses(world, [], "image2world", 3, 5.0, 8) == []


def test_more_known_frames_lower_the_loss(world: World, data: TrainingData) -> None:
    modes = ("text2world", "image2world", "video2world")
    losses = [sum(held_out_losses(world, data.train, mode, 4, 5.0, 8)) for mode in modes]
    assert losses[0] > losses[1] > losses[2] > 0


@torch.no_grad()
def test_inputs_are_moved_to_the_device_of_the_base(tiny_world: Path, data: TrainingData) -> None:
    world = open_world(str(tiny_world), "meta")  # where a tensor left behind is refused
    z_BCTHW, text_BND = load_batch(data.train)
    draws = training_draws(SETTINGS, 5.0, STEP, z_BCTHW.shape[1:], range(6))
    assert loss_per_clip(world, z_BCTHW, text_BND, draws).device.type == "meta"
    assert {tensor.device.type for tensor in predict(world, z_BCTHW, text_BND, draws)} == {"meta"}
