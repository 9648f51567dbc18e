"""An adapter onto a frozen denoiser, through peft's own configuration and layers."""

import torch
from diffusers import CosmosTransformer3DModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from worldtune.adapters.factored_dora import make_lean
from worldtune.adapters.spec import AdapterSpec

ADAPTER = "default"


def inject(denoiser: CosmosTransformer3DModel, spec: AdapterSpec, seed: int) -> dict[str, nn.Parameter]:
    """Freeze the denoiser, add the adapter and return its parameters, fp32, by name.

    A is Kaiming-uniform from `seed`, B is zero, DoRA's magnitude is the row norm of W: the output is the base's.
    """
    denoiser.requires_grad_(False)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha or spec.rank,
        target_modules=list(spec.modules),
        use_dora=spec.method == "dora",
        lora_dropout=0.0,
        bias="none",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser.add_adapter(config, adapter_name=ADAPTER)
    parameters = adapter_parameters(denoiser)
    for parameter in parameters.values():
        parameter.data = parameter.data.float()
    make_lean(denoiser, ADAPTER)
    return parameters


def inject_ranks(denoiser: CosmosTransformer3DModel, ranks: dict[str, int]) -> None:
    """Add an empty LoRA of scale 1 to each named module, of its own rank."""
    denoiser.requires_grad_(False)
    rank = max(ranks.values())
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=list(ranks), rank_pattern=ranks, alpha_pattern=dict(ranks)
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        denoiser.add_adapter(config, adapter_name=ADAPTER)


def adapter_parameters(denoiser: nn.Module) -> dict[str, nn.Parameter]:
    """The trainable parameters by name: they are the adapter's, as everything else is frozen."""
    return {name: parameter for name, parameter in denoiser.named_parameters() if parameter.requires_grad}


def wrapped_modules(denoiser: nn.Module) -> list[str]:
    """Names of the linear layers that carry an adapter."""
    return [name for name, module in denoiser.named_modules() if isinstance(module, LoraLayer)]


def expected_modules(denoiser: CosmosTransformer3DModel, spec: AdapterSpec) -> int:
    """How many linears `spec` must wrap: q, k, v, out of both attentions of a block, and two of its MLP."""
    per_block = 2 * sum(not name.startswith("ff") for name in spec.modules) + sum(
        name.startswith("ff") for name in spec.modules
    )
    return per_block * len(denoiser.transformer_blocks)
