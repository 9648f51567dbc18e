"""Add an adapter to a frozen denoiser, through peft's configuration and layers."""

import torch
from diffusers import CosmosTransformer3DModel
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from torch import nn

from worldtune.adapters.actions import add_action_embedders
from worldtune.adapters.layers.factored_dora import use_memory_efficient_layers
from worldtune.adapters.layers.initialization import initialize
from worldtune.adapters.module_spec import ModuleSpec
from worldtune.adapters.spec import AdapterSpec
from worldtune.adapters.targets import IN_BLOCK
from worldtune.core.actions.form import ActionForm
from worldtune.errors import AdapterError

ADAPTER = "default"


def inject(
    denoiser: CosmosTransformer3DModel, spec: AdapterSpec | ModuleSpec, seed: int, actions: ActionForm | None = None
) -> dict[str, nn.Parameter]:
    """Freeze the denoiser, add the adapter and return its parameters, fp32, by name.

    A is Kaiming-uniform from `seed` and B zero, or both follow `spec.init`; DoRA's magnitude is the row norm of W. An
    adapter that reads `actions` also has an action embedder, whose output is zero. The output equals the base's.
    Raise AdapterError if a weight is too small for the rank, or the base reads actions in another form.
    """
    _check_rank(denoiser, spec)
    denoiser.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser.add_adapter(lora_config(spec), adapter_name=ADAPTER)
        if actions:
            add_action_embedders(denoiser, actions, seed)
        parameters = adapter_parameters(denoiser)
        for parameter in parameters.values():
            parameter.data = parameter.data.float()
        for module in denoiser.modules():
            if spec.init != "zero" and isinstance(module, LoraLayer):
                initialize(module, ADAPTER, spec.init)
    use_memory_efficient_layers(denoiser, ADAPTER)
    return parameters


def lora_config(spec: AdapterSpec | ModuleSpec) -> LoraConfig:
    """Return peft's configuration of the adapter, without its initialization, which here leaves the base unchanged."""
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
    """Add an empty LoRA of scale 1 and the given rank to each named module."""
    denoiser.requires_grad_(False)
    rank = max(ranks.values())
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=list(ranks), rank_pattern=ranks, alpha_pattern=dict(ranks)
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        denoiser.add_adapter(config, adapter_name=ADAPTER)


def adapter_parameters(denoiser: nn.Module) -> dict[str, nn.Parameter]:
    """Return the trainable parameters by name: the adapter's, as everything else is frozen."""
    return {name: parameter for name, parameter in denoiser.named_parameters() if parameter.requires_grad}


def wrapped_modules(denoiser: nn.Module) -> list[str]:
    """Return the names of the linear layers that have an adapter."""
    return [name for name, module in denoiser.named_modules() if isinstance(module, LoraLayer)]


def expected_modules(denoiser: CosmosTransformer3DModel, spec: AdapterSpec) -> int:
    """Return how many linear layers `spec` must wrap in this architecture."""
    return sum(len(denoiser.transformer_blocks) if linear in IN_BLOCK else 1 for linear in spec.linears)


def _check_rank(denoiser: CosmosTransformer3DModel, spec: AdapterSpec | ModuleSpec) -> None:
    for name, module in denoiser.named_modules():
        rank = spec.rank_at(name)
        if rank is None or not isinstance(module, nn.Linear):
            continue
        side = min(module.in_features, module.out_features)
        if rank > max(module.in_features, module.out_features):
            what = f"rank {rank} is larger than the inputs and outputs of {name}"
            raise AdapterError(what, where="adapter.rank", hint=f"Use {side} at most.")
        if spec.init != "zero" and rank > side:
            what = f"{spec.init} has at most {side} factors for {name}, not {rank}"
            raise AdapterError(what, where="adapter.rank", hint="Set a smaller rank for it in adapter.ranks.")
