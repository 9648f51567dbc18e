"""A frozen base in a half or a quarter of its memory: large weights are codes and scales, decoded for each product.

Backward decodes the weight again: autograd keeps only codes and scales, which exist anyway. (torchao's weight-only
tensors are decoded above autograd, which then keeps every weight in bf16; an installed bitsandbytes would be imported
by peft whenever an adapter is added.) Activations stay in the base's precision.

Shapes: (..., I) inputs, (..., O) outputs.
Source: int8 and fp8 (e4m3, arXiv:2209.05433) by rows; NF4 in blocks of 64 (QLoRA, arXiv:2305.14314).
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import CosmosTransformer3DModel
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from worldtune.models.quantization.nf4 import BLOCK, VALUES, decode_nf4, encode_nf4

Kind = Literal["int8", "fp8", "nf4"]
LARGEST = {"int8": 127.0, "fp8": 448.0}
TINY = 1e-30  # for a row of zeros


class QuantizedLinear(nn.Linear):
    """A linear layer y = Wx with W as codes and scales; `weight` decodes W to `dtype` at each access."""

    codes: Tensor
    scales: Tensor
    values: Tensor

    def __init__(self, weight_OI: Tensor, kind: Kind) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight_OI.shape
        self.kind: Kind = kind
        self.dtype = weight_OI.dtype
        self.register_parameter("bias", None)
        codes, scales = encode_nf4(weight_OI) if kind == "nf4" else _encode(weight_OI, kind)
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        if kind == "nf4":  # a buffer, as copying them to a GPU each time would make it wait
            self.register_buffer("values", torch.tensor(VALUES, device=weight_OI.device), persistent=False)

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows [start, stop) of W in `dtype`. Raise ValueError for NF4 unless they are whole blocks."""
        if self.kind != "nf4":
            return _decode(self.codes[start:stop], self.scales[start:stop], self.kind, self.dtype)
        first, last = start * self.in_features, min(stop, self.out_features) * self.in_features
        if first % BLOCK or last % BLOCK:
            raise ValueError(f"rows {start} to {stop} of {self.in_features} are not whole blocks of {BLOCK}")
        codes, scales = self.codes[first // 2 : last // 2], self.scales[first // BLOCK : last // BLOCK]
        return decode_nf4(codes, scales, self.values, self.dtype).view(-1, self.in_features)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.rows(0, self.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., O) of x (..., I)."""
        if torch.is_grad_enabled():
            return _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return F.linear(x, self.weight)


def quantize(denoiser: CosmosTransformer3DModel, kind: Kind) -> None:
    """Quantize the weights of attention and MLP in place, one after the other, on their devices.

    Adaptive norms, embeddings, the last layer and the text projection do not change. Raise ValueError if the denoiser
    has an adapter or is quantized already.
    """
    linears = list(_large_linears(denoiser))
    for _, name, linear in linears:
        if type(linear) is not nn.Linear or linear.bias is not None or "lora_" in name:
            raise ValueError(f"{name} is not a plain linear layer: quantize a base once, before its adapter")
    for part, name, linear in linears:
        part.set_submodule(name, QuantizedLinear(linear.weight.detach(), kind))


def weight_bytes(denoiser: CosmosTransformer3DModel) -> int:
    """Return the bytes of the weights of attention and MLP, quantized or not."""
    held = [[*linear.parameters(), *linear.buffers()] for _, _, linear in _large_linears(denoiser)]
    return sum(tensor.nbytes for tensors in held for tensor in tensors)


def _large_linears(denoiser: CosmosTransformer3DModel) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """Yield (part of a block, name in that part, linear layer)."""
    for block in denoiser.transformer_blocks:
        for part in (block.attn1, block.attn2, block.ff):
            yield from ((part, name, module) for name, module in part.named_modules() if isinstance(module, nn.Linear))


def _encode(weight_OI: Tensor, kind: Kind) -> tuple[Tensor, Tensor]:
    """Return codes (O, I) as bytes and scales (O, 1) in W's type; a row's largest weight has the largest code."""
    scales = (weight_OI.abs().amax(1, keepdim=True).float() / LARGEST[kind]).clamp_min(TINY).to(weight_OI.dtype)
    ratio = (weight_OI.float() / scales.float()).clamp(-LARGEST[kind], LARGEST[kind])
    if kind == "int8":
        return ratio.round().to(torch.int8), scales
    return ratio.to(torch.float8_e4m3fn).view(torch.uint8), scales  # as bytes, which Module.to(dtype) does not convert


def _decode(codes: Tensor, scales: Tensor, kind: Kind, dtype: torch.dtype) -> Tensor:
    values = codes if kind == "int8" else codes.view(torch.float8_e4m3fn)
    return values.to(dtype).mul_(scales.to(dtype))


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return F.linear(x, layer.weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        return (grad @ ctx.layer.weight if ctx.needs_input_grad[0] else None), None
