"""Plans in plain numbers of a training step, its encoding or a video, and the user's cache of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from worldtune.core.files import cache_folder, digest_json, write_json
from worldtune.core.strict_io import read_json

Plan = TypeVar("Plan", "TrainingPlan", "EncodingPlan", "GenerationPlan")
OPTIMIZER_STATE_RATIO = {"adamw": 2.0, "adamw8bit": 0.5, "muon": 1.0, "prodigy": 4.0}
"""Bytes of an optimizer's state, as a multiple of the adapter's fp32 bytes."""


@dataclass(frozen=True)
class TrainingPlan:
    """Bytes of a training step, and its FLOPs.

    `base` is the frozen base and `block` one of its blocks; `moments` are the optimizer's state and the moving
    averages; `step` is the most that a step needs beyond these, the adapter's gradients included.
    """

    base: int
    block: int
    adapter: int
    moments: int
    step: int
    flops: int

    @property
    def peak(self) -> int:
        return self.base + self.adapter + self.moments + self.step

    def streamed(self, layers: int) -> "TrainingPlan":
        """Return the plan with only one of the base's `layers` blocks in memory."""
        return replace(self, base=self.base - (layers - 1) * self.block)


@dataclass(frozen=True)
class EncodingPlan:
    """Bytes of the denoiser's blocks, of the rest of the denoiser, and the peak of each phase beyond these."""

    blocks: int
    resident: int
    encoding: int
    reading: int
    decoding: int

    def phases(self, *, streamed: bool) -> dict[str, int]:
        """Return the peak bytes of each phase, weights included.

        Before training the denoiser's blocks are in the CPU's memory; if `streamed`, they stay there during it.
        """
        return {
            "encode a clip": self.resident + self.encoding,
            "read a prompt": self.resident + self.reading,
            "decode a preview": self.resident + (0 if streamed else self.blocks) + self.decoding,
        }


@dataclass(frozen=True)
class GenerationPlan:
    """Peak bytes of each phase for each way of offloading, and operations.

    `flops` are those of one denoiser evaluation, `once` those of the phases that a video runs once.
    """

    phases: dict[str, dict[str, int]]
    flops: int
    once: dict[str, int]


def find_plan(kind: type[Plan], inputs: Mapping[str, Any]) -> Plan | None:
    """Return the cached plan for `inputs`, None if there is none. The inputs include the digest of the code."""
    path = _path(kind, inputs)
    return kind(**read_json(path)) if path.is_file() else None


def cache_plan(plan: "TrainingPlan | EncodingPlan | GenerationPlan", inputs: Mapping[str, Any]) -> None:
    """Write a plan to the cache, where `find_plan` finds it."""
    write_json(_path(type(plan), inputs), asdict(plan))


def _path(kind: type, inputs: Mapping[str, Any]) -> Path:
    return cache_folder() / "plans" / f"{digest_json({'plan': kind.__name__, **inputs})}.json"
