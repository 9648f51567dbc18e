"""Blank bases have the real ones' parameters."""

import pytest
import torch

from worldtune.planning.blank import BlankReader, blank_codec, blank_denoiser
from worldtune.planning.meter import without_data
from worldtune.worlds.catalog import BY_NAME, KNOWN_BASES
from worldtune.worlds.load import open_world


@pytest.mark.parametrize("name", [base.name for base in KNOWN_BASES])
def test_a_denoiser_has_the_catalogues_parameters(name: str) -> None:
    with without_data() as meter:
        denoiser = blank_denoiser(BY_NAME[name], torch.bfloat16)
        assert sum(p.numel() for p in denoiser.parameters()) == BY_NAME[name].parameters
        assert 2 * BY_NAME[name].parameters <= meter.live <= 2 * BY_NAME[name].parameters + 100_000


@pytest.mark.parametrize(
    ("name", "parameters", "layers"),
    [
        ("predict2.5-2b/post-trained", 8_292_166_656, 28),  # Qwen2.5-VL-7B-Instruct's own count
        ("predict2-2b/video2world", 24 * (4 * 1024 * 16384 + 2 * 1024 * 65536 + 2 * 1024) + 32128 * 1024 + 5120, 24),
    ],
)
def test_a_text_encoder_has_its_parameters(name: str, parameters: int, layers: int) -> None:
    with without_data():
        reader = BlankReader(BY_NAME[name], torch.bfloat16)
        assert sum(p.numel() for p in reader.model.parameters()) == parameters
        assert len(reader.layers) == layers


def test_the_shipped_base_is_blank_in_its_own_shapes() -> None:
    world, base = open_world("pocket"), BY_NAME["pocket"]
    reals = (world.text.model, world.codec.vae)
    with without_data():
        reader = BlankReader(base, torch.float32)
        for blank, real in zip((reader.model, blank_codec(base, torch.float32).vae), reals, strict=True):
            assert [tuple(p.shape) for p in blank.parameters()] == [tuple(p.shape) for p in real.parameters()]
        assert reader.length == world.text.length
