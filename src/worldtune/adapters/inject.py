"""An adapter onto a frozen denoiser, through peft's own configuration and layers."""

import torch
from diffusers import CosmosTransformer3DModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from worldtune.adapters.factored_dora import make_lean
from worldtune.adapters.spec import AdapterSpec
from worldtune.adapters.start import start
from worldtune.adapters.targets import IN_BLOCK, linear_of
from worldtune.errors import AdapterError

ADAPTER = "default"


def inject(denoiser: CosmosTransformer3DModel, spec: AdapterSpec, seed: int) -> dict[str, nn.Parameter]:
    """Freeze the denoiser, add the adapter and return its parameters, fp32, by name.

    A is Kaiming-uniform from `seed` and B zero, or both start as `spec.init` says; DoRA's magnitude is the row norm of
    W: the output is the base's. Raises AdapterError where a weight has no start of that rank.
    """
    _refuse_rank(denoiser, spec)
    denoiser.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser.add_adapter(lora_config(spec), adapter_name=ADAPTER)
        parameters = adapter_parameters(denoiser)
        for parameter in parameters.values():
            parameter.data = parameter.data.float()
        for module in denoiser.modules():
            if spec.init != "zero" and isinstance(module, LoraLayer):
                start(module, ADAPTER, spec.init)
    make_lean(denoiser, ADAPTER)
    return parameters


def lora_config(spec: AdapterSpec) -> LoraConfig:
    """peft's configuration of the adapter; of its start it says nothing, as the base is left as it is."""
    return LoraConfig(
        r=spec.rank,
        lora_alpha=spec.lora_alpha,
        target_modules=list(spec.modules),
        rank_pattern=spec.rank_pattern,
        alpha_pattern=spec.alpha_pattern,
        use_rslora=spec.rslora,
        use_dora=spec.method == "dora",
        lora_dropout=0.0,
        bias="none",
    )


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
    """How many linears `spec` must wrap, by the architecture: one in each block, or one in all."""
    return sum(len(denoiser.transformer_blocks) if linear in IN_BLOCK else 1 for linear in spec.linears)


def _refuse_rank(denoiser: CosmosTransformer3DModel, spec: AdapterSpec) -> None:
    for name, module in denoiser.named_modules():
        rank = spec.linears.get(linear_of(name) or "")
        if rank is None or not isinstance(module, nn.Linear):
            continue
        side = min(module.in_features, module.out_features)
        if rank > max(module.in_features, module.out_features):
            what = f"rank {rank} is more than {name} has inputs or outputs"
            raise AdapterError(what, where="adapter.rank", mend=f"Take {side} at most.")
        if spec.init != "zero" and rank > side:
            what = f"{spec.init} starts at no more than {side} factors of {name}, not at {rank}"
            raise AdapterError(what, where="adapter.rank", mend="Give it a smaller rank in adapter.ranks.")
