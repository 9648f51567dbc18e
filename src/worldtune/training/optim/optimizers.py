"""Optimizers of an adapter, from PyTorch and other libraries.

Muon trains only matrices (A and B); AdamW then trains the rest (DoRA's magnitudes, the action embedder). LoRA+ gives B
its own learning rate.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from worldtune.diffusion.action_embedder import EMBEDDERS
from worldtune.errors import RecipeError
from worldtune.training.recipe import Train

PACKAGES = {"adamw8bit": "torchao", "prodigy": "prodigyopt"}
PRODIGY_NUMBERS = ("k", "d", "d_max", "d_numerator")  # numbers that Prodigy updates in a parameter group


def check_installed(settings: Train) -> None:
    """Raise RecipeError if the optimizer's library is not installed."""
    package = PACKAGES.get(settings.optimizer, "torch")
    if importlib.util.find_spec(package) is None:
        hint = "pip install 'worldtune[optimizers]', or choose another optimizer."
        raise RecipeError(f"{package} is not installed", where=f"train.optimizer={settings.optimizer}", hint=hint)


def make_optimizers(parameters: Mapping[str, nn.Parameter], settings: Train) -> list[Optimizer]:
    """Return the recipe's optimizer for the adapter's parameters, and AdamW for those that Muon cannot train."""
    check_installed(settings)
    matrices = {name: p for name, p in parameters.items() if p.ndim == 2 and not _is_embedder(name)}
    if settings.optimizer == "muon":
        others = {name: p for name, p in parameters.items() if name not in matrices}
        muon = torch.optim.Muon(
            _groups(matrices, settings), weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        return [muon, _adamw(others, settings)] if others else [muon]
    if settings.optimizer == "adamw8bit":
        from torchao.optim import AdamW8bit

        return [AdamW8bit(_groups(parameters, settings), lr=settings.lr, weight_decay=settings.weight_decay)]
    if settings.optimizer == "prodigy":
        from prodigyopt import Prodigy

        with redirect_stdout(StringIO()):  # it prints that weight decay is decoupled
            return [Prodigy(list(parameters.values()), lr=settings.lr, weight_decay=settings.weight_decay)]
    return [_adamw(parameters, settings)]


def _adamw(parameters: Mapping[str, nn.Parameter], settings: Train) -> Optimizer:
    return torch.optim.AdamW(
        _groups(parameters, settings), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
    )


def _groups(parameters: Mapping[str, nn.Parameter], settings: Train) -> list[dict[str, Any]]:
    """Return parameter groups: B with the rate lr·lora_plus (arXiv:2402.12354), the action embedder with its own rate,
    the others with lr.
    """
    b_matrices = [p for name, p in parameters.items() if ".lora_B." in name]
    embedder = [p for name, p in parameters.items() if _is_embedder(name)]
    others = [p for name, p in parameters.items() if ".lora_B." not in name and not _is_embedder(name)]
    groups = [
        {"params": others, "lr": settings.lr},
        {"params": b_matrices, "lr": settings.lr * settings.lora_plus},
        {"params": embedder, "lr": settings.action_lr},
    ]
    return [group for group in groups if group["params"]]


def _is_embedder(name: str) -> bool:
    return name.startswith(EMBEDDERS)


def set_rates(optimizers: Sequence[Optimizer], factor: float) -> None:
    """Set each group's rate to `factor` times its highest rate."""
    for group in _each_group(optimizers):
        group.setdefault("highest", float(group["lr"]))
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group["highest"] * factor)
        else:
            group["lr"] = group["highest"] * factor


def materialize(optimizers: Sequence[Optimizer]) -> None:
    """Create the optimizers' state by a step with zero gradients and a zero rate, which changes no parameter."""
    set_rates(optimizers, 0.0)
    for group in _each_group(optimizers):
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def state_tensors(parameters: Mapping[str, nn.Parameter], optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """Return all tensors of the optimizers' states by name; they share memory with the states."""
    found: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    found |= dict(_inner_tensors(f"{name}.{key}", value))
    return found


def state_numbers(parameters: Mapping[str, nn.Parameter], optimizers: Sequence[Optimizer]) -> dict[str, Any]:
    """Return the places of the numbers that an optimizer updates: (dictionary, key) by name."""
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        for optimizer in optimizers:
            state = optimizer.state.get(parameter, {})
            found |= {f"{name}.{key}": (state, key) for key, value in state.items() if isinstance(value, int | float)}
    for number, group in enumerate(_each_group(optimizers)):
        found |= {f"group{number}.{key}": (group, key) for key in PRODIGY_NUMBERS if key in group}
    return found


def _inner_tensors(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield a tensor, or the tensors inside an 8-bit one."""
    inner = getattr(value, "__tensor_flatten__", None)
    if inner is None or type(value) in (Tensor, nn.Parameter):
        yield name, value
        return
    for part in inner()[0]:
        yield f"{name}.{part}", getattr(value, part)


def _each_group(optimizers: Sequence[Optimizer]) -> Iterator[dict[str, Any]]:
    for optimizer in optimizers:
        yield from optimizer.param_groups
