import math

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from safetensors import safe_open

from worldtune.worlds.catalog import KNOWN_BASES, KnownBase
from worldtune.worlds.load import pocket_folder

BY_NAME = {base.name: base for base in KNOWN_BASES}
PREDICT25_TEXT = {
    "use_crossattn_projection": True,
    "crossattn_proj_in_channels": 100352,
    "encoder_hidden_states_channels": 1024,
}
SIZES = {"2b": {"num_attention_heads": 16, "num_layers": 28}, "14b": {"num_attention_heads": 40, "num_layers": 36}}


def parameters(size: str, **text: object) -> int:
    """The denoiser's parameters, on the meta device: no memory is taken."""
    with torch.device("meta"):
        model = CosmosTransformer3DModel(
            in_channels=17, attention_head_dim=128, adaln_lora_dim=256, extra_pos_embed_type=None, **SIZES[size], **text
        )
    return sum(parameter.numel() for parameter in model.parameters())


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(KNOWN_BASES)


@pytest.mark.parametrize("size", SIZES)
def test_parameters_are_those_of_diffusers_own_class(size: str) -> None:
    assert BY_NAME[f"predict2.5-{size}/post-trained"].parameters == parameters(size, **PREDICT25_TEXT)
    assert BY_NAME[f"predict2.5-{size}/pre-trained"].parameters == parameters(size, **PREDICT25_TEXT)
    assert BY_NAME[f"predict2-{size}/video2world"].parameters == parameters(size)


def test_pocket_has_the_parameters_that_ship() -> None:
    shapes = []
    for path in (pocket_folder() / "transformer").glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            shapes += [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    assert sum(map(math.prod, shapes)) == BY_NAME["pocket"].parameters


@pytest.mark.parametrize("base", KNOWN_BASES, ids=lambda base: base.name)
def test_facts_agree_with_each_other(base: KnownBase) -> None:
    assert (base.repo is None) == (base.revision is None) == (base.name == "pocket")
    assert (base.sigma_max is None) == (base.sigma_min is None) == (base.schedule == "shift5")
    assert (base.frames - 1) % 4 == 0
    assert base.height % 16 == 0
    assert base.width % 16 == 0
    assert base.conditional_sigma is None or 0 <= base.conditional_sigma < 0.01
