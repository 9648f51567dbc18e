"""The base models worldtune knows, and what an adapter must know of its base.

Sources: github.com/nvidia-cosmos/cosmos-predict2.5 (`checkpoint_db.py` and the experiments it names) and
cosmos-predict2; diffusers' `pipelines/cosmos`. Parameters are those of the denoiser, text projection included,
counted on diffusers' `CosmosTransformer3DModel`.
"""

from dataclasses import dataclass
from typing import Any, Literal

NVIDIA = "NVIDIA Open Model License"
REASON1 = "Cosmos-Reason1 7B (Qwen2.5-VL)"
T5 = "T5-XXL 11B"


@dataclass(frozen=True)
class Architecture:
    """The denoiser's size: blocks, heads of `head_dim`, AdaLN's inner width, and RoPE's scale in time, height, width.

    `projection` is the text projection's input and output width, None where text arrives as it is (`text_dim` wide).
    """

    layers: int
    heads: int
    head_dim: int
    adaln_dim: int
    text_dim: int
    projection: tuple[int, int] | None
    rope_scale: tuple[float, float, float]
    max_size: tuple[int, int, int] = (128, 240, 240)

    def config(self) -> dict[str, Any]:
        """The arguments of diffusers' `CosmosTransformer3DModel`."""
        proj_in, proj_out = self.projection or (1024, 1024)
        return {
            "in_channels": 17, "out_channels": 16, "num_attention_heads": self.heads,
            "attention_head_dim": self.head_dim, "num_layers": self.layers, "mlp_ratio": 4.0,
            "text_embed_dim": self.text_dim, "adaln_lora_dim": self.adaln_dim, "max_size": self.max_size,
            "patch_size": (1, 2, 2), "rope_scale": self.rope_scale, "concat_padding_mask": True,
            "extra_pos_embed_type": None, "use_crossattn_projection": self.projection is not None,
            "crossattn_proj_in_channels": proj_in, "encoder_hidden_states_channels": proj_out,
        }  # fmt: skip


_REASON1_WIDTH = 28 * 3584  # all layers' states side by side
PREDICT25_2B = Architecture(28, 16, 128, 256, 1024, (_REASON1_WIDTH, 1024), (1.0, 3.0, 3.0))
PREDICT25_14B = Architecture(36, 40, 128, 256, 1024, (_REASON1_WIDTH, 1024), (1.0, 3.0, 3.0))
PREDICT2_2B = Architecture(28, 16, 128, 256, 1024, None, (1.0, 3.0, 3.0))
PREDICT2_14B = Architecture(36, 40, 128, 256, 1024, None, (20 / 24, 2.0, 2.0))
POCKET = Architecture(6, 4, 48, 48, 64, (128, 64), (1.0, 1.0, 1.0), (16, 32, 32))


@dataclass(frozen=True)
class KnownBase:
    """One base model.

    `repo` and `revision` are its diffusers folder on the Hugging Face hub, None where the package ships it.
    `schedule` is how its noise levels are spaced in sampling: "karras" (ρ = 7 between `sigma_max` and
    `sigma_min`, EDM units) or "shift5" (linear, then σ = 5u/(1+4u)). `conditional_sigma` is the σ in [0, 1] that
    given frames see, None when they see the σ of all others. `opened` is False where worldtune knows the model
    but cannot open it yet. `frames` pictures of `height` × `width` at `fps` are what it was trained for last.
    """

    name: str
    repo: str | None
    revision: str | None
    parameters: int
    licence: str
    text_encoder: str
    schedule: Literal["karras", "shift5"]
    sigma_max: float | None
    sigma_min: float | None
    conditional_sigma: float | None
    frames: int
    height: int
    width: int
    fps: int
    opened: bool
    architecture: Architecture

    @property
    def bf16_gigabytes(self) -> float:
        """The denoiser's weights in bfloat16, in units of 10⁹ bytes."""
        return 2 * self.parameters / 1e9


def _predict25(size: str, parameters: int, training: str, karras: bool) -> KnownBase:
    return KnownBase(
        name=f"predict2.5-{size.lower()}/{training}",
        repo=f"nvidia/Cosmos-Predict2.5-{size}",
        revision=f"diffusers/base/{training}",
        parameters=parameters,
        licence=NVIDIA,
        text_encoder=REASON1,
        schedule="karras" if karras else "shift5",
        sigma_max=200.0 if karras else None,
        sigma_min=0.01 if karras else None,
        conditional_sigma=0.0001 if karras else None,
        frames=93,
        height=704,
        width=1280,
        fps=16,
        opened=True,
        architecture={"2B": PREDICT25_2B, "14B": PREDICT25_14B}[size],
    )


def _predict2(size: str, parameters: int) -> KnownBase:
    return KnownBase(
        name=f"predict2-{size.lower()}/video2world",
        repo=f"nvidia/Cosmos-Predict2-{size}-Video2World",
        revision="main",
        parameters=parameters,
        licence=NVIDIA,
        text_encoder=T5,
        schedule="karras",
        sigma_max=80.0,
        sigma_min=0.002,
        conditional_sigma=0.0001,
        frames=93,
        height=704,
        width=1280,
        fps=16,
        opened=False,
        architecture={"2B": PREDICT2_2B, "14B": PREDICT2_14B}[size],
    )


# Only the post-trained 2B was made from an EDM model, and keeps its Karras levels and its nearly clean given
# frames; both 14B models name the same shift-5 experiment.
KNOWN_BASES: tuple[KnownBase, ...] = (
    KnownBase(
        name="pocket",
        repo=None,
        revision=None,
        parameters=4_118_400,
        licence="Apache-2.0",
        text_encoder="Qwen2.5-VL, 2 frozen random layers",
        schedule="karras",
        sigma_max=200.0,
        sigma_min=0.01,
        conditional_sigma=0.0001,
        frames=21,
        height=64,
        width=64,
        fps=16,
        opened=True,
        architecture=POCKET,
    ),
    _predict25("2B", 2_059_174_912, "post-trained", karras=True),
    _predict25("2B", 2_059_174_912, "pre-trained", karras=False),
    _predict25("14B", 14_368_047_104, "post-trained", karras=False),
    _predict25("14B", 14_368_047_104, "pre-trained", karras=False),
    _predict2("2B", 1_956_413_440),
    _predict2("14B", 14_265_285_632),
)
