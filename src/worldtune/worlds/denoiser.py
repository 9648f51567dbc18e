"""The denoiser of Cosmos Predict 2.5 and 2, run on the modules of diffusers' `CosmosTransformer3DModel`.

Equal to that class's forward, and cheaper: a noise level belongs to a latent frame, so modulation is
computed once a frame and broadcast over its tokens (diffusers expands it to every token first); and text
arrives already projected, and in sampling its keys and values are computed once. The padding mask is a channel of
zeros, for which no torchvision is needed. Positions in time count latent frames, as NVIDIA trained both
(`rope_enable_fps_modulation=False`); diffusers' pipeline of Predict 2 stretches them by 24/fps.

Shapes: B clips, C channels, T latent frames, H×W latent pixels, S tokens a frame, N text tokens, D width; of
attention H heads of width E.
Source: diffusers `models/transformers/transformer_cosmos.py`; arXiv:2511.00062.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

import torch
import torch.nn.functional as F
from diffusers import CosmosTransformer3DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_cosmos import (
    CosmosAdaLayerNorm,
    CosmosAdaLayerNormZero,
    CosmosTransformerBlock,
)
from torch import Tensor, nn

from worldtune.worlds.attention import attend
from worldtune.worlds.chunks import in_chunks
from worldtune.worlds.context_parallel import Context
from worldtune.worlds.feed_forward import feed_forward
from worldtune.worlds.head_norm import normed, turned
from worldtune.worlds.offload import Visit, stay
from worldtune.worlds.recompute import Recompute, recomputed

KeysValues = tuple[Tensor, Tensor]
ReadText = list[KeysValues]


@dataclass(frozen=True)
class Execution:
    """How blocks are computed, which changes nothing of what is computed.

    `visit` brings a block to where it computes; `recompute` says what is computed again in backward, `context` which
    processes share the tokens; `compiled` blocks are compiled once for all of them.
    """

    visit: Visit = stay
    recompute: Recompute = field(default_factory=Recompute)
    context: Context | None = None
    compiled: bool = False


PLAIN = Execution()


def make_precise(model: CosmosTransformer3DModel) -> None:
    """From now on time embedding, modulation and final layer are in fp32, whatever the rest is, as NVIDIA has them."""
    model.time_embed.float()
    model.norm_out.float()
    model.proj_out.float()
    for block in model.transformer_blocks:
        for norm in (block.norm1, block.norm2, block.norm3):
            norm.float()


def project_text(model: CosmosTransformer3DModel, embeddings_BNE: Tensor) -> Tensor:
    """text_BND as cross-attention sees it: the frozen projection, or the embeddings where there is none."""
    return model.crossattn_proj(embeddings_BNE) if model.config.use_crossattn_projection else embeddings_BNE


def read_text(model: CosmosTransformer3DModel, text_BND: Tensor, visit: Visit = stay) -> ReadText:
    """Each block's cross-attention keys and values of `text_BND`, for many calls of `denoise` with the same text."""
    keys_values = []
    for block in model.transformer_blocks:
        with visit(block):
            keys_values.append(_keys_values(block.attn2, text_BND))
    return keys_values


def denoise(
    model: CosmosTransformer3DModel,
    x_BCTHW: Tensor,
    sigma_BT: Tensor,
    known_BT: Tensor,
    text: Tensor | ReadText,
    how: Execution = PLAIN,
) -> Tensor:
    """The predicted velocity v_BCTHW of latents x at noise levels σ in [0, 1], one a latent frame.

    `known_BT` is 1.0 where the latent frame is given; `text` is text_BND of `project_text`, or what `read_text` made
    of it.
    """
    config = model.config
    mask_BCTHW = known_BT[:, None, :, None, None].expand(-1, -1, -1, *x_BCTHW.shape[3:]).to(x_BCTHW.dtype)
    channels = [x_BCTHW, mask_BCTHW]
    if config.concat_padding_mask:
        channels.append(torch.zeros_like(mask_BCTHW))
    inputs = torch.cat(channels, 1)
    rope: Sequence[Tensor] = model.rope(inputs)
    patches = model.patch_embed(inputs)
    batch, frames, height, width, dim = patches.shape
    x_BTSD = patches.reshape(batch, frames, height * width, dim)

    precision = model.time_embed.norm.weight.dtype  # of the network, or fp32 over it
    temb, embedded = model.time_embed(x_BTSD.new_empty(0, dtype=precision), sigma_BT.flatten())
    temb_BTD, embedded_BTD = temb.view(batch, frames, -1), F.silu(embedded).view(batch, frames, -1)
    if context := how.context:
        context.refuse(height * width, model.config.num_attention_heads)
        x_BTSD, rope = context.own(x_BTSD), [context.own_positions(table, frames) for table in rope]

    compute = _compiled_block() if how.compiled else _block
    for number, block in enumerate(model.transformer_blocks):
        if isinstance(text, Tensor) and how.recompute.of_block(number):
            parts, visit = (x_BTSD, embedded_BTD, temb_BTD, text, *rope), partial(how.visit, block)
            x_BTSD = recomputed(partial(compute, block, context), parts, _trained(block), how.recompute, visit)
        else:
            with how.visit(block):
                its_text = text if isinstance(text, Tensor) else text[number]
                x_BTSD = compute(block, context, x_BTSD, embedded_BTD, temb_BTD, its_text, *rope)

    shift, scale = _modulation(model.norm_out, embedded_BTD, temb_BTD[..., : 2 * dim], 2, x_BTSD.dtype)
    x_BTSD = model.proj_out(_modulated(model.norm_out, x_BTSD, shift, scale).to(model.proj_out.weight.dtype))
    x_BTSD = context.every(x_BTSD) if context else x_BTSD
    return _unpatchify(x_BTSD, height, width, config.patch_size)


def _block(
    block: CosmosTransformerBlock,
    context: Context | None,
    x_BTSD: Tensor,
    embedded_BTD: Tensor,
    temb_BTD: Tensor,
    text: Tensor | KeysValues,
    *rope: Tensor,
) -> Tensor:
    """Self-attention, cross-attention and MLP, each modulated and gated by the frame's noise level."""
    shape = x_BTSD.shape

    def tokens(x: Tensor) -> Tensor:
        return x.flatten(1, 2)

    shift, scale, gate = _modulation(block.norm1, embedded_BTD, temb_BTD, 3, x_BTSD.dtype)
    attended = _self_attend(block.attn1, tokens(_modulated(block.norm1, x_BTSD, shift, scale)), rope, context)
    x_BTSD = torch.addcmul(x_BTSD, gate, attended.view(shape))
    shift, scale, gate = _modulation(block.norm2, embedded_BTD, temb_BTD, 3, x_BTSD.dtype)
    queried = tokens(_modulated(block.norm2, x_BTSD, shift, scale))
    keys_values = _keys_values(block.attn2, text) if isinstance(text, Tensor) else text
    attended = _attend(block.attn2, queried, keys_values)
    x_BTSD = torch.addcmul(x_BTSD, gate, attended.view(shape))

    def mlp(x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        return torch.addcmul(x, gate, feed_forward(block.ff, _modulated(block.norm3, x, shift, scale)))

    modulation = _modulation(block.norm3, embedded_BTD, temb_BTD, 3, x_BTSD.dtype)
    return in_chunks(mlp, (x_BTSD, *modulation), 1, _trained(block.ff), last=True)


def _trained(module: nn.Module) -> list[Tensor]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


@cache
def _compiled_block() -> Callable[..., Tensor]:
    return torch.compile(_block, dynamic=False)


def _self_attend(attention: Attention, x_BND: Tensor, rope: Sequence[Tensor], context: Context | None) -> Tensor:
    """Self-attention: the sums of diffusers' processor."""

    def placed(norm: nn.Module, heads_BHNE: Tensor) -> Tensor:
        return in_chunks(lambda some_BHNE: turned(norm, some_BHNE, *rope), (heads_BHNE,), 1)

    queries_BHNE = placed(attention.norm_q, _heads(attention, attention.to_q(x_BND)))
    keys_BHNE = placed(attention.norm_k, _heads(attention, attention.to_k(x_BND)))
    values_BHNE = _heads(attention, attention.to_v(x_BND))
    if context:
        queries_BHNE, keys_BHNE, values_BHNE = map(context.by_head, (queries_BHNE, keys_BHNE, values_BHNE))
    return _mixed(attention, queries_BHNE, keys_BHNE, values_BHNE, context)


def _keys_values(attention: Attention, text_BND: Tensor) -> KeysValues:
    keys_BHNE, values_BHNE = (_heads(attention, to(text_BND)) for to in (attention.to_k, attention.to_v))
    return normed(attention.norm_k, keys_BHNE), values_BHNE


def _attend(attention: Attention, x_BND: Tensor, keys_values: KeysValues) -> Tensor:
    """Cross-attention to text that was read already: the sums of diffusers' processor."""
    queries_BHNE = in_chunks(partial(normed, attention.norm_q), (_heads(attention, attention.to_q(x_BND)),), 1)
    return _mixed(attention, queries_BHNE, *keys_values)


def _mixed(
    attention: Attention, queries_BHNE: Tensor, keys_BHNE: Tensor, values_BHNE: Tensor, context: Context | None = None
) -> Tensor:
    attended_BHNE = attend(queries_BHNE, keys_BHNE, values_BHNE)
    attended_BHNE = context.by_token(attended_BHNE) if context else attended_BHNE
    return attention.to_out[0](attended_BHNE.transpose(1, 2).flatten(2))


def _heads(attention: Attention, x_BND: Tensor) -> Tensor:
    return x_BND.unflatten(2, (attention.heads, -1)).transpose(1, 2)


def _modulation(
    norm: CosmosAdaLayerNorm | CosmosAdaLayerNormZero,
    embedded_BTD: Tensor,
    temb_BTD: Tensor,
    parts: int,
    dtype: torch.dtype,
) -> tuple[Tensor, ...]:
    """Shift, scale (and gate) of an adaptive layer norm as (B, T, 1, D) of `dtype`; `embedded` is past its SiLU."""
    modulation = (norm.linear_2(norm.linear_1(embedded_BTD)) + temb_BTD).to(dtype)
    return modulation.unsqueeze(2).chunk(parts, -1)


def _modulated(
    norm: CosmosAdaLayerNorm | CosmosAdaLayerNormZero, x_BTSD: Tensor, shift: Tensor, scale: Tensor
) -> Tensor:
    """norm(x)·(1 + scale) + shift, in one go over the tokens."""
    return torch.addcmul(shift, norm.norm(x_BTSD), 1 + scale)


def _unpatchify(x_BTSD: Tensor, height: int, width: int, patch_size: tuple[int, int, int]) -> Tensor:
    """Tokens to latents; features are ordered (p_h, p_w, p_t, C), which is not the order of patchify."""
    p_t, p_h, p_w = patch_size
    x = x_BTSD.unflatten(2, (height, width)).unflatten(-1, (p_h, p_w, p_t, -1))
    x = x.permute(0, 7, 1, 6, 2, 4, 3, 5)  # B, C, T, p_t, H, p_h, W, p_w
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)
