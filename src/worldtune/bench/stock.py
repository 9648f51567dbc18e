"""diffusers' own pipeline, to compare ours with. It calls two torchvision functions, which are supplied here.

torchvision itself is needed nowhere in worldtune.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import Cosmos2_5_PredictBasePipeline, Cosmos2VideoToWorldPipeline, CosmosTransformer3DModel
from diffusers.models.transformers import transformer_cosmos
from diffusers.pipelines.cosmos import pipeline_cosmos2_5_predict
from torch import Tensor


class Unguarded:
    """Takes the place of NVIDIA's safety checker, which the pipeline refuses to run without."""

    def to(self, device: torch.device) -> "Unguarded":
        return self

    def check_text_safety(self, prompt: str) -> bool:
        return bool(prompt)


def _resize(x_BCHW: Tensor, size: list[int], interpolation: str) -> Tensor:
    return F.interpolate(x_BCHW, size, mode=interpolation)


def _to_tensor(picture_HWC: np.ndarray) -> Tensor:
    return torch.from_numpy(picture_HWC).permute(2, 0, 1).float() / 255


@contextmanager
def torchvision_names() -> Iterator[None]:
    """Inside, diffusers finds the torchvision names that it calls, whether torchvision is installed or not."""
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
        for module, name, own in before:
            if own is None:
                delattr(module, name)
            else:
                setattr(module, name, own)


def stock_pipeline(folder: Path) -> Cosmos2_5_PredictBasePipeline:
    """The pipeline of `folder` in fp32."""
    pipe = Cosmos2_5_PredictBasePipeline.from_pretrained(
        folder, safety_checker=Unguarded(), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def stock_predict2(folder: Path) -> Cosmos2VideoToWorldPipeline:
    """Predict 2's pipeline of `folder` in fp32."""
    pipe = Cosmos2VideoToWorldPipeline.from_pretrained(
        folder, safety_checker=Unguarded(), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def stock_forward(
    model: CosmosTransformer3DModel, x_BCTHW: Tensor, sigma_BT: Tensor, known_BT: Tensor, embeddings_BNE: Tensor
) -> Tensor:
    """v_BCTHW of diffusers' own forward, called as its pipeline does."""
    B, _, T, H, W = x_BCTHW.shape
    with torchvision_names():
        return model(
            hidden_states=x_BCTHW,
            condition_mask=known_BT.view(B, 1, T, 1, 1).expand(-1, -1, -1, H, W),
            timestep=sigma_BT.view(B, 1, T, 1, 1),
            encoder_hidden_states=embeddings_BNE,
            padding_mask=x_BCTHW.new_zeros(1, 1, 8 * H, 8 * W),
            return_dict=False,
        )[0]
