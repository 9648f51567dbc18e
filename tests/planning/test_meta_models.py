"""Bases without weights have the parameters of the real ones."""

import pytest
import torch

from worldtune.models.catalog import BY_NAME, KNOWN_BASES
from worldtune.models.load import open_world
from worldtune.planning.memory_tracker import without_data
from worldtune.planning.meta_models import MetaTextEncoder, meta_codec, meta_denoiser


@pytest.mark.parametrize("name", [base.name for base in KNOWN_BASES])
def test_denoiser_has_the_parameter_count_of_the_catalog(name: str) -> None:
    with without_data() as tracker:
        denoiser = meta_denoiser(BY_NAME[name], torch.bfloat16)
        assert sum(p.numel() for p in denoiser.parameters()) == BY_NAME[name].parameters
        assert 2 * BY_NAME[name].parameters <= tracker.live <= 2 * BY_NAME[name].parameters + 100_000


@pytest.mark.parametrize(
    ("name", "parameters", "layers"),
    [
        ("predict2.5-2b/post-trained", 8_292_166_656, 28),  # Qwen2.5-VL-7B-Instruct's own count
        ("predict2-2b/video2world", 24 * (4 * 1024 * 16384 + 2 * 1024 * 65536 + 2 * 1024) + 32128 * 1024 + 5120, 24),
    ],
)
def test_text_encoder_has_the_parameter_count_of_the_real_one(name: str, parameters: int, layers: int) -> None:
    with without_data():
        reader = MetaTextEncoder(BY_NAME[name], torch.bfloat16)
        assert sum(p.numel() for p in reader.model.parameters()) == parameters
        assert len(reader.layers) == layers


def test_shipped_base_without_weights_has_the_real_shapes() -> None:
    world, base = open_world("pocket"), BY_NAME["pocket"]
    reals = (world.text.model, world.codec.vae)
    with without_data():
        reader = MetaTextEncoder(base, torch.float32)
        for meta, real in zip((reader.model, meta_codec(base, torch.float32).vae), reals, strict=True):
            assert [tuple(p.shape) for p in meta.parameters()] == [tuple(p.shape) for p in real.parameters()]
        assert reader.length == world.text.length
