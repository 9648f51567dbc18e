"""The denoiser of Cosmos Predict 2.5 and 2, run on the modules of diffusers' `CosmosTransformer3DModel`.

Results equal that class's forward at lower cost: a noise level belongs to a latent frame, so modulation is computed
once per frame and broadcast over its tokens (diffusers expands it to every token first). Text arrives projected, and in
sampling its keys and values are computed once. The padding mask is a channel of zeros, which needs no torchvision.
Positions in time count latent frames, as in NVIDIA's training of both models (`rope_enable_fps_modulation=False`);
diffusers' pipeline of Predict 2 stretches them by 24/fps.

Shapes: B clips, C channels, T latent frames, H×W latent pixels, S tokens per frame, N text tokens, D width; in
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

from worldtune.diffusion.action_embedder import ActionInputs, embed_actions
from worldtune.models.attention import attend
from worldtune.models.memory.activation_checkpoint import ActivationCheckpoint, checkpointed
from worldtune.models.memory.chunked import in_chunks
from worldtune.models.memory.context_parallel import ContextParallel
from worldtune.models.memory.offload import ResidentContext, no_offload
from worldtune.models.transformer.feed_forward import feed_forward
from worldtune.models.transformer.qk_norm_rope import qk_norm, qk_norm_rope

KeysValues = tuple[Tensor, Tensor]
TextKeysValues = list[KeysValues]


@dataclass(frozen=True)
class Execution:
    """The way in which blocks are computed; it does not change the result.

    `resident` moves a block to the device that computes; `activation_checkpoint` selects what backward recomputes,
    `context` the processes that share the tokens; with `compiled`, all blocks share one compiled function.
    """

    resident: ResidentContext = no_offload
    activation_checkpoint: ActivationCheckpoint = field(default_factory=ActivationCheckpoint)
    context: ContextParallel | None = None
    compiled: bool = False


DEFAULT_EXECUTION = Execution()


def keep_modulation_fp32(model: CosmosTransformer3DModel) -> None:
    """Convert time embedding, modulation and final layer to fp32, as in NVIDIA's network."""
    model.time_embed.float()
    model.norm_out.float()
    model.proj_out.float()
    for block in model.transformer_blocks:
        for norm in (block.norm1, block.norm2, block.norm3):
            norm.float()


def project_text(model: CosmosTransformer3DModel, embeddings_BNE: Tensor) -> Tensor:
    """Return text_BND for cross-attention: the frozen projection, or the embeddings if there is no projection."""
    return model.crossattn_proj(embeddings_BNE) if model.config.use_crossattn_projection else embeddings_BNE


def cache_text_kv(
    model: CosmosTransformer3DModel, text_BND: Tensor, resident: ResidentContext = no_offload
) -> TextKeysValues:
    """Return each block's cross-attention keys and values of `text_BND`, for many calls of `forward` with this text."""
    keys_values = []
    for block in model.transformer_blocks:
        with resident(block):
            keys_values.append(_keys_values(block.attn2, text_BND))
    return keys_values


def forward(
    model: CosmosTransformer3DModel,
    x_BCTHW: Tensor,
    sigma_BT: Tensor,
    cond_mask_BT: Tensor,
    text: Tensor | TextKeysValues,
    execution: Execution = DEFAULT_EXECUTION,
    actions: ActionInputs | None = None,
) -> Tensor:
    """Return the predicted velocity v_BCTHW of latents x at noise levels σ in [0, 1], one per latent frame.

    `cond_mask_BT` is 1.0 where the latent frame is given; `text` is text_BND of `project_text`, or the result of
    `cache_text_kv`. `actions` need the denoiser's action embedders. Raise RecipeError if the processes of
    `context` cannot share the tokens and heads evenly.
    """
    config = model.config
    mask_BCTHW = cond_mask_BT[:, None, :, None, None].expand(-1, -1, -1, *x_BCTHW.shape[3:]).to(x_BCTHW.dtype)
    channels = [x_BCTHW, mask_BCTHW]
    if config.concat_padding_mask:
        channels.append(torch.zeros_like(mask_BCTHW))
    inputs = torch.cat(channels, 1)
    rope: Sequence[Tensor] = model.rope(inputs)
    patches = model.patch_embed(inputs)
    batch, frames, height, width, dim = patches.shape
    x_BTSD = patches.reshape(batch, frames, height * width, dim)

    precision = model.time_embed.norm.weight.dtype  # of the network, or fp32
    like = x_BTSD.new_empty(0, dtype=precision)
    if actions is None:
        temb, embedded = model.time_embed(like, sigma_BT.flatten())
    else:
        to_time, to_adaln = embed_actions(model, actions, cond_mask_BT)
        proj = model.time_embed.time_proj(sigma_BT.flatten()).type_as(like)
        temb = model.time_embed.t_embedder(proj) + to_adaln.flatten(0, 1).type_as(like)
        embedded = model.time_embed.norm(proj + to_time.flatten(0, 1).type_as(like))
    temb_BTD, embedded_BTD = temb.view(batch, frames, -1), F.silu(embedded).view(batch, frames, -1)
    if context := execution.context:
        context.check_divisible(height * width, model.config.num_attention_heads)
        x_BTSD, rope = context.local_tokens(x_BTSD), [context.local_positions(table, frames) for table in rope]

    compute = _compiled_block() if execution.compiled else _block
    for number, block in enumerate(model.transformer_blocks):
        if isinstance(text, Tensor) and execution.activation_checkpoint.applies_to(number):
            parts, resident = (x_BTSD, embedded_BTD, temb_BTD, text, *rope), partial(execution.resident, block)
            x_BTSD = checkpointed(
                partial(compute, block, context), parts, _trained(block), execution.activation_checkpoint, resident
            )
        else:
            with execution.resident(block):
                block_text = text if isinstance(text, Tensor) else text[number]
                x_BTSD = compute(block, context, x_BTSD, embedded_BTD, temb_BTD, block_text, *rope)

    shift, scale = _modulation(model.norm_out, embedded_BTD, temb_BTD[..., : 2 * dim], 2, x_BTSD.dtype)
    x_BTSD = model.proj_out(_modulated(model.norm_out, x_BTSD, shift, scale).to(model.proj_out.weight.dtype))
    x_BTSD = context.gather_tokens(x_BTSD) if context else x_BTSD
    return _unpatchify(x_BTSD, height, width, config.patch_size)


def _block(
    block: CosmosTransformerBlock,
    context: ContextParallel | None,
    x_BTSD: Tensor,
    embedded_BTD: Tensor,
    temb_BTD: Tensor,
    text: Tensor | KeysValues,
    *rope: Tensor,
) -> Tensor:
    """Return the result of one block: self-attention, cross-attention and MLP, modulated by the frame's noise level."""
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


def _self_attend(
    attention: Attention, x_BND: Tensor, rope: Sequence[Tensor], context: ContextParallel | None
) -> Tensor:
    """Return self-attention, computed as in diffusers' processor."""

    def norm_and_rope(norm: nn.Module, heads_BHNE: Tensor) -> Tensor:
        return in_chunks(lambda chunk_BHNE: qk_norm_rope(norm, chunk_BHNE, *rope), (heads_BHNE,), 1)

    queries_BHNE = norm_and_rope(attention.norm_q, _heads(attention, attention.to_q(x_BND)))
    keys_BHNE = norm_and_rope(attention.norm_k, _heads(attention, attention.to_k(x_BND)))
    values_BHNE = _heads(attention, attention.to_v(x_BND))
    if context:
        queries_BHNE, keys_BHNE, values_BHNE = map(context.by_head, (queries_BHNE, keys_BHNE, values_BHNE))
    return _mixed(attention, queries_BHNE, keys_BHNE, values_BHNE, context)


def _keys_values(attention: Attention, text_BND: Tensor) -> KeysValues:
    keys_BHNE, values_BHNE = (_heads(attention, to(text_BND)) for to in (attention.to_k, attention.to_v))
    return qk_norm(attention.norm_k, keys_BHNE), values_BHNE


def _attend(attention: Attention, x_BND: Tensor, keys_values: KeysValues) -> Tensor:
    """Return cross-attention to cached keys and values, computed as in diffusers' processor."""
    queries_BHNE = in_chunks(partial(qk_norm, attention.norm_q), (_heads(attention, attention.to_q(x_BND)),), 1)
    return _mixed(attention, queries_BHNE, *keys_values)


def _mixed(
    attention: Attention,
    queries_BHNE: Tensor,
    keys_BHNE: Tensor,
    values_BHNE: Tensor,
    context: ContextParallel | None = None,
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
    """Return shift, scale (and gate) of an adaptive norm as (B, T, 1, D) of `dtype`; `embedded_BTD` is after SiLU."""
    modulation = (norm.linear_2(norm.linear_1(embedded_BTD)) + temb_BTD).to(dtype)
    return modulation.unsqueeze(2).chunk(parts, -1)


def _modulated(
    norm: CosmosAdaLayerNorm | CosmosAdaLayerNormZero, x_BTSD: Tensor, shift: Tensor, scale: Tensor
) -> Tensor:
    """Return norm(x)·(1 + scale) + shift, in one pass over the tokens."""
    return torch.addcmul(shift, norm.norm(x_BTSD), 1 + scale)


def _unpatchify(x_BTSD: Tensor, height: int, width: int, patch_size: tuple[int, int, int]) -> Tensor:
    """Return the latents of tokens, whose features are ordered (p_h, p_w, p_t, C), unlike the order of patchify."""
    p_t, p_h, p_w = patch_size
    x = x_BTSD.unflatten(2, (height, width)).unflatten(-1, (p_h, p_w, p_t, -1))
    x = x.permute(0, 7, 1, 6, 2, 4, 3, 5)  # B, C, T, p_t, H, p_h, W, p_w
    return x.flatten(6, 7).flatten(4, 5).flatten(2, 3)
