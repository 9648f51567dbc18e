"""diffusers' forward and Predict 2's pipeline, for comparison with ours.

Shapes: B clips, C latent channels, T latent frames, H×W latent pixels, N text tokens, E text features.
"""

from pathlib import Path

import torch
from diffusers import Cosmos2VideoToWorldPipeline, CosmosTransformer3DModel
from torch import Tensor

from benchmarks.stock import NoGuardrail, torchvision_names


def stock_predict2(folder: Path) -> Cosmos2VideoToWorldPipeline:
    """Return Predict 2's pipeline of `folder` in fp32."""
    pipe = Cosmos2VideoToWorldPipeline.from_pretrained(
        folder, safety_checker=NoGuardrail(), dtype=torch.float32, use_safetensors=True, trust_remote_code=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def stock_forward(
    model: CosmosTransformer3DModel, x_BCTHW: Tensor, sigma_BT: Tensor, cond_mask_BT: Tensor, embeddings_BNE: Tensor
) -> Tensor:
    """Return v_BCTHW of diffusers' forward, called like its pipeline calls it."""
    B, _, T, H, W = x_BCTHW.shape
    with torchvision_names():
        return model(
            hidden_states=x_BCTHW,
            condition_mask=cond_mask_BT.view(B, 1, T, 1, 1).expand(-1, -1, -1, H, W),
            timestep=sigma_BT.view(B, 1, T, 1, 1),
            encoder_hidden_states=embeddings_BNE,
            padding_mask=x_BCTHW.new_zeros(1, 1, 8 * H, 8 * W),
            return_dict=False,
        )[0]
