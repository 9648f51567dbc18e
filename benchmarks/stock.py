"""diffusers' pipeline, as a reference for ours. This module supplies the two torchvision functions that it calls.

worldtune does not need torchvision.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import Cosmos2_5_PredictBasePipeline
from diffusers.models.transformers import transformer_cosmos
from diffusers.pipelines.cosmos import pipeline_cosmos2_5_predict
from torch import Tensor


class NoGuardrail:
    """A stand-in for NVIDIA's safety checker, which the pipeline requires."""

    def to(self, device: torch.device) -> "NoGuardrail":
        return self

    def check_text_safety(self, prompt: str) -> bool:
        return bool(prompt)


def _resize(x_BCHW: Tensor, size: list[int], interpolation: str) -> Tensor:
    return F.interpolate(x_BCHW, size, mode=interpolation)


def _to_tensor(picture_HWC: np.ndarray) -> Tensor:
    return torch.from_numpy(picture_HWC).permute(2, 0, 1).float() / 255


@contextmanager
def torchvision_names() -> Iterator[None]:
    """Give diffusers the torchvision names that it calls inside the block, with or without torchvision installed."""
    transforms = SimpleNamespace(
        functional=SimpleNamespace(resize=_resize, to_tensor=_to_tensor),
        InterpolationMode=SimpleNamespace(NEAREST="nearest"),
    )
    named = (
        (transformer_cosmos, "transforms", transforms),
        (pipeline_cosmos2_5_predict, "torchvision", SimpleNamespace(transforms=transforms)),
    )
    before = [(module, name, getattr(module, name, None)) for module, name, _ in named]
    for module, name, value in named:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, original in before:
            if original is None:
                delattr(module, name)
            else:
                setattr(module, name, original)


def stock_pipeline(folder: Path) -> Cosmos2_5_PredictBasePipeline:
    """Return the pipeline of `folder` in fp32."""
    pipe = Cosmos2_5_PredictBasePipeline.from_pretrained(
        folder, safety_checker=NoGuardrail(), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe
