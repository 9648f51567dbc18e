"""The known base models, and the properties of a base that an adapter depends on.

Sources: github.com/nvidia-cosmos/cosmos-predict2.5 (`checkpoint_db.py` and the experiments it names) and
cosmos-predict2; diffusers' `pipelines/cosmos`. Parameters are those of the denoiser, including the text projection,
counted on diffusers' `CosmosTransformer3DModel`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

DISTILLED_STEPS = 4

NVIDIA = "NVIDIA Open Model License"
REASON1 = "Cosmos-Reason1 7B (Qwen2.5-VL)"
T5 = "T5-XXL 11B"


@dataclass(frozen=True)
class Architecture:
    """The denoiser's size: blocks, heads of `head_dim`, AdaLN's inner width, and RoPE's scale in time, height, width.

    `projection` is the text projection's input and output width, None if text is not projected (`text_dim` wide).
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
        """Return the arguments of diffusers' `CosmosTransformer3DModel`."""
        proj_in, proj_out = self.projection or (1024, 1024)
        return {
            "in_channels": 17, "out_channels": 16, "num_attention_heads": self.heads,
            "attention_head_dim": self.head_dim, "num_layers": self.layers, "mlp_ratio": 4.0,
            "text_embed_dim": self.text_dim, "adaln_lora_dim": self.adaln_dim, "max_size": self.max_size,
            "patch_size": (1, 2, 2), "rope_scale": self.rope_scale, "concat_padding_mask": True,
            "extra_pos_embed_type": None, "use_crossattn_projection": self.projection is not None,
            "crossattn_proj_in_channels": proj_in, "encoder_hidden_states_channels": proj_out,
        }  # fmt: skip


@dataclass(frozen=True)
class Schedule:
    """The noise levels of sampling, and the level of given frames.

    "karras" (ρ = 7 between `sigma_max` and `sigma_min`, EDM units), "shift5" (linear, then σ = 5u/(1+4u)), "distilled"
    (the four levels of DMD2) or "edm" (Predict 2's: Karras levels, Euler steps, and a final level of `sigma_min`).
    `conditional_sigma` is the σ in [0, 1] of given frames, None if they have the σ of the other frames.
    """

    kind: Literal["karras", "shift5", "distilled", "edm"]
    conditional_sigma: float | None
    sigma_max: float | None = None
    sigma_min: float | None = None

    def evaluations(self, num_steps: int) -> int:
        """Return the denoiser's evaluations for NVIDIA's `num_steps`: one more on Karras, at most four if distilled.

        On "edm" it is one less: diffusers' last evaluation goes from `sigma_min` to `sigma_min` and is skipped.
        """
        if self.kind == "distilled":
            return min(num_steps, DISTILLED_STEPS)
        if self.kind == "edm":
            return max(1, num_steps - 1)
        return num_steps + 1 if self.kind == "karras" else num_steps

    def levels(self, evaluations: int) -> "np.ndarray":
        """Return σ in [0, 1] of each evaluation, and on "edm" also the final σ; distilled levels are at most four."""
        from worldtune.diffusion.schedules import (  # importing the catalog must not import numpy
            distilled_sigmas,
            karras_sigmas,
            shifted_linear_sigmas,
        )

        if self.kind == "shift5":
            return shifted_linear_sigmas(evaluations)
        if self.kind == "distilled":
            return distilled_sigmas()[:evaluations]
        assert self.sigma_max is not None
        assert self.sigma_min is not None
        return karras_sigmas(evaluations + (self.kind == "edm"), self.sigma_max, self.sigma_min)

    def __str__(self) -> str:
        return self.kind if self.sigma_max is None else f"{self.kind} {self.sigma_max:g}…{self.sigma_min:g}"


_REASON1_WIDTH = 28 * 3584  # the states of all layers, concatenated
PREDICT25_2B = Architecture(28, 16, 128, 256, 1024, (_REASON1_WIDTH, 1024), (1.0, 3.0, 3.0))
PREDICT25_14B = Architecture(36, 40, 128, 256, 1024, (_REASON1_WIDTH, 1024), (1.0, 3.0, 3.0))
PREDICT2_2B = Architecture(28, 16, 128, 256, 1024, None, (1.0, 3.0, 3.0))
PREDICT2_14B = Architecture(36, 40, 128, 256, 1024, None, (20 / 24, 2.0, 2.0))
POCKET = Architecture(6, 4, 48, 48, 64, (128, 64), (1.0, 1.0, 1.0), (16, 32, 32))


@dataclass(frozen=True)
class ActionConditioning:
    """How a base reads actions: rows of `len(scale)` numbers, each times its `scale`, four rows per latent frame.

    `state_columns` are as in a recipe's action space: None marks a number that is no delta.
    """

    scale: tuple[float, ...]
    state_columns: tuple[int | None, ...]


@dataclass(frozen=True)
class KnownBase:
    """One base model.

    `repo` and `revision` are its diffusers folder on the Hugging Face hub, None if the package ships it;
    `checkpoint` is NVIDIA's file in that repo, at the revision main. `first_loss` is the expected band of the first
    training loss: about 0.03 with a real base's weights, about 3 without (cosmos-predict2.5 issue 161). Its last
    training used `frames` frames of `height` × `width` at `fps`. It needs at least `min_known_latents` given latent
    frames. `guidance` is the default: diffusers', or 0 if the base has guidance built in or, like pocket, was measured
    without. A base that is conditioned on `actions` has its own weights in `checkpoint` alone; the diffusers folder
    provides the other parts.
    """

    name: str
    repo: str | None
    revision: str | None
    parameters: int
    license: str
    text_encoder: str
    schedule: Schedule
    frames: int
    height: int
    width: int
    fps: int
    architecture: Architecture
    checkpoint: str | None = None
    first_loss: tuple[float, float] = (0.0, 0.5)
    min_known_latents: int = 0
    guidance: int = 7
    actions: ActionConditioning | None = None

    @property
    def bf16_gigabytes(self) -> float:
        """The size of the denoiser's weights in bfloat16, in units of 10⁹ bytes."""
        return 2 * self.parameters / 1e9


_NEARLY_CLEAN = 0.0001
_KARRAS_200 = Schedule("karras", _NEARLY_CLEAN, 200.0, 0.01)
_EDM_80 = Schedule("edm", _NEARLY_CLEAN / (1 + _NEARLY_CLEAN), 80.0, 0.002)
_SHIFT_5 = Schedule("shift5", None)
_DISTILLED = Schedule("distilled", None)


def _predict25(size: str, training: str, file: str, schedule: Schedule) -> KnownBase:
    return KnownBase(
        name=f"predict2.5-{size.lower()}/{training}",
        repo=f"nvidia/Cosmos-Predict2.5-{size}",
        revision=f"diffusers/base/{training}",
        parameters={"2B": 2_059_174_912, "14B": 14_368_047_104}[size],
        license=NVIDIA,
        text_encoder=REASON1,
        schedule=schedule,
        frames=93,
        height=704,
        width=1280,
        fps=16,
        architecture={"2B": PREDICT25_2B, "14B": PREDICT25_14B}[size],
        checkpoint=f"base/{training}/{file}_ema_bf16.pt",
        guidance=0 if schedule.kind == "distilled" else 7,
    )


def _action_conditioned() -> KnownBase:
    """Return the base trained on Bridge: end-effector deltas in meters and radians, and the gripper's position.

    Source: cosmos-predict2.5 (`experiments/base/action.py`, `predict2/action/datasets/dataset_local.py`): 12 actions
    for 13 frames, the first frame is given at the σ of the others, positions as in the pre-trained 2B. The parameters
    include the action embedders.
    """
    return KnownBase(
        name="predict2.5-2b/robot/action-cond",
        repo="nvidia/Cosmos-Predict2.5-2B",
        revision="diffusers/base/pre-trained",
        parameters=2_059_174_912 + 67_592_192,
        license=NVIDIA,
        text_encoder=REASON1,
        schedule=_SHIFT_5,
        frames=13,
        height=256,
        width=320,
        fps=4,
        architecture=PREDICT25_2B,
        checkpoint="robot/action-cond/38c6c645-7d41-4560-8eeb-6f4ddc0e6574_ema_bf16.pt",
        min_known_latents=1,
        guidance=0,
        actions=ActionConditioning((20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 1.0), (0, 1, 2, 3, 4, 5, None)),
    )


def _predict2(size: str, parameters: int) -> KnownBase:
    return KnownBase(
        name=f"predict2-{size.lower()}/video2world",
        repo=f"nvidia/Cosmos-Predict2-{size}-Video2World",
        revision="main",
        parameters=parameters,
        license=NVIDIA,
        text_encoder=T5,
        schedule=_EDM_80,
        frames=93,
        height=704,
        width=1280,
        fps=16,
        architecture={"2B": PREDICT2_2B, "14B": PREDICT2_14B}[size],
        min_known_latents=1,
    )


# Only the post-trained 2B was made from an EDM model, so it has Karras levels and nearly clean given frames; both 14B
# models name the same shift-5 experiment.
KNOWN_BASES: tuple[KnownBase, ...] = (
    KnownBase(
        name="pocket",
        repo=None,
        revision=None,
        parameters=4_118_400,
        license="Apache-2.0",
        text_encoder="Qwen2.5-VL, 2 frozen random layers",
        schedule=_KARRAS_200,
        frames=21,
        height=64,
        width=64,
        fps=16,
        architecture=POCKET,
        guidance=0,
    ),
    _predict25("2B", "post-trained", "81edfebe-bd6a-4039-8c1d-737df1a790bf", _KARRAS_200),
    _predict25("2B", "pre-trained", "d20b7120-df3e-4911-919d-db6e08bad31c", _SHIFT_5),
    _predict25("2B", "distilled", "575edf0f-d973-4c74-b52c-69929a08d0a5", _DISTILLED),
    _predict25("14B", "post-trained", "e21d2a49-4747-44c8-ba44-9f6f9243715f", _SHIFT_5),
    _predict25("14B", "pre-trained", "54937b8c-29de-4f04-862c-e67b04ec41e8", _SHIFT_5),
    _action_conditioned(),
    _predict2("2B", 1_956_413_440),
    _predict2("14B", 14_265_285_632),
)
BY_NAME = {base.name: base for base in KNOWN_BASES}
CONFIG_KEYS = frozenset(POCKET.config())
