import json
import math

import pytest
import torch
from diffusers import CosmosTransformer3DModel
from safetensors import safe_open

from worldtune.diffusion.action_embedder import OWN_HIDDEN, add_embedders
from worldtune.models.catalog import BY_NAME, KNOWN_BASES, KnownBase
from worldtune.models.resolve_base import pocket_folder

EXACT = {
    "pocket": 4_118_400,
    "predict2.5-2b/post-trained": 2_059_174_912,
    "predict2.5-2b/pre-trained": 2_059_174_912,
    "predict2.5-2b/distilled": 2_059_174_912,
    "predict2.5-2b/robot/action-cond": 2_126_767_104,
    "predict2.5-14b/post-trained": 14_368_047_104,
    "predict2.5-14b/pre-trained": 14_368_047_104,
    "predict2-2b/video2world": 1_956_413_440,
    "predict2-14b/video2world": 14_265_285_632,
}


def meta_model(base: KnownBase) -> CosmosTransformer3DModel:
    """Return the denoiser on the meta device, without memory."""
    with torch.device("meta"):
        model = CosmosTransformer3DModel(**base.architecture.config())
        if base.actions:
            dim = base.architecture.heads * base.architecture.head_dim
            add_embedders(model, 4 * len(base.actions.scale), OWN_HIDDEN * dim, dim)
        return model


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(KNOWN_BASES)


@pytest.mark.parametrize("base", KNOWN_BASES, ids=lambda base: base.name)
def test_parameter_counts_equal_diffusers_class(base: KnownBase) -> None:
    assert base.parameters == EXACT[base.name]
    assert base.parameters == sum(parameter.numel() for parameter in meta_model(base).parameters())
    hidden = base.architecture.heads * base.architecture.head_dim
    assert hidden == {"2b": 2048, "14b": 5120, "pocket": 192}[base.name.partition("/")[0].rpartition("-")[2]]


def test_pocket_architecture_equals_the_shipped_config() -> None:
    shipped = json.loads((pocket_folder() / "transformer" / "config.json").read_text())
    ours = BY_NAME["pocket"].architecture.config()
    assert {key: shipped[key] for key in ours} == json.loads(json.dumps(ours))


def test_pocket_parameters_equal_the_shipped_weights() -> None:
    shapes = []
    for path in (pocket_folder() / "transformer").glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            shapes += [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    assert sum(map(math.prod, shapes)) == BY_NAME["pocket"].parameters


@pytest.mark.parametrize("base", KNOWN_BASES, ids=lambda base: base.name)
def test_entries_are_consistent(base: KnownBase) -> None:
    assert (base.repo is None) == (base.revision is None) == (base.name == "pocket")
    schedule = base.schedule
    assert (schedule.sigma_max is None) == (schedule.sigma_min is None) == (schedule.kind not in ("karras", "edm"))
    assert (base.checkpoint is not None) == base.name.startswith("predict2.5")
    assert (base.frames - 1) % 4 == 0
    assert base.height % 16 == 0
    assert base.width % 16 == 0


def test_schedules_and_positions_equal_nvidia_s() -> None:
    """github.com/nvidia-cosmos: cosmos-predict2.5 `checkpoint_db.py` and its experiments, cosmos-predict2's configs."""
    schedules = {
        base.name: (str(base.schedule), base.schedule.conditional_sigma, base.architecture.rope_scale)
        for base in KNOWN_BASES
    }
    spread = (1.0, 3.0, 3.0)
    assert schedules == {
        "pocket": ("karras 200…0.01", 1e-4, (1.0, 1.0, 1.0)),
        "predict2.5-2b/post-trained": ("karras 200…0.01", 1e-4, spread),
        "predict2.5-2b/pre-trained": ("shift5", None, spread),
        "predict2.5-2b/distilled": ("distilled", None, spread),
        "predict2.5-2b/robot/action-cond": ("shift5", None, spread),
        "predict2.5-14b/post-trained": ("shift5", None, spread),
        "predict2.5-14b/pre-trained": ("shift5", None, spread),
        "predict2-2b/video2world": ("edm 80…0.002", pytest.approx(1e-4 / 1.0001), spread),
        "predict2-14b/video2world": ("edm 80…0.002", pytest.approx(1e-4 / 1.0001), (20 / 24, 2.0, 2.0)),
    }


def test_text_and_sizes_equal_the_papers() -> None:
    """arXiv:2511.00062 and 2501.03575: heads of 128, AdaLN's inner width 256, all layers of a 28-layer encoder."""
    for base in KNOWN_BASES[1:]:
        architecture = base.architecture
        assert (architecture.head_dim, architecture.adaln_dim, architecture.text_dim) == (128, 256, 1024)
        blocks_heads = {"2b": (28, 16), "14b": (36, 40)}[base.name.partition("/")[0].rpartition("-")[2]]
        assert (architecture.layers, architecture.heads) == blocks_heads
        assert architecture.projection == ((100_352, 1024) if base.name.startswith("predict2.5") else None)
        size = (13, 256, 320, 4) if base.actions else (93, 704, 1280, 16)
        assert (base.frames, base.height, base.width, base.fps) == size
