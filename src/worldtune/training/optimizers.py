"""Optimisers of an adapter, from PyTorch and the libraries that have them.

Muon moves the matrices A and B, AdamW what is left: DoRA's magnitudes. LoRA+ gives B a rate of its own.
"""

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from worldtune.errors import RecipeError
from worldtune.training.recipe import Train

PACKAGES = {"adamw8bit": "torchao", "prodigy": "prodigyopt"}
CHANGING = ("k", "d", "d_max", "d_numerator")  # Prodigy's own numbers, of a group


def refuse_absent(settings: Train) -> None:
    """Raises RecipeError when the optimiser's library is not installed."""
    package = PACKAGES.get(settings.optimizer, "torch")
    if importlib.util.find_spec(package) is None:
        mend = "pip install 'worldtune[optimizers]', or take another optimizer."
        raise RecipeError(f"{package} is not installed", where=f"train.optimizer={settings.optimizer}", mend=mend)


def make_optimizers(parameters: Mapping[str, nn.Parameter], settings: Train) -> list[Optimizer]:
    """The recipe's optimiser of an adapter's parameters, by name; a second one where the first takes matrices only."""
    refuse_absent(settings)
    matrices = {name: p for name, p in parameters.items() if p.ndim == 2}
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

        with redirect_stdout(StringIO()):  # it says there that weight decay is decoupled
            return [Prodigy(list(parameters.values()), lr=settings.lr, weight_decay=settings.weight_decay)]
    return [_adamw(parameters, settings)]


def _adamw(parameters: Mapping[str, nn.Parameter], settings: Train) -> Optimizer:
    return torch.optim.AdamW(
        _groups(parameters, settings), lr=settings.lr, weight_decay=settings.weight_decay, fused=True
    )


def _groups(parameters: Mapping[str, nn.Parameter], settings: Train) -> list[dict[str, Any]]:
    """B's at the rate lr·lora_plus (arXiv:2402.12354), the others at lr."""
    of_b = [p for name, p in parameters.items() if ".lora_B." in name]
    others = [p for name, p in parameters.items() if ".lora_B." not in name]
    groups = [{"params": others, "lr": settings.lr}, {"params": of_b, "lr": settings.lr * settings.lora_plus}]
    return [group for group in groups if group["params"]]


def set_rates(optimizers: Sequence[Optimizer], factor: float) -> None:
    """Each group's rate is `factor` times its highest."""
    for group in _each_group(optimizers):
        group.setdefault("highest", float(group["lr"]))
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(group["highest"] * factor)
        else:
            group["lr"] = group["highest"] * factor


def materialise(optimizers: Sequence[Optimizer]) -> None:
    """Give the optimisers their state, by a step with zero gradients and a zero rate: no parameter changes."""
    set_rates(optimizers, 0.0)
    for group in _each_group(optimizers):
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()


def state_tensors(parameters: Mapping[str, nn.Parameter], optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    """All tensors of the optimisers' states by name, shared with them."""
    found: dict[str, Tensor] = {}
    for name, parameter in parameters.items():
        for optimizer in optimizers:
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    found |= dict(_plain(f"{name}.{key}", value))
    return found


def state_numbers(parameters: Mapping[str, nn.Parameter], optimizers: Sequence[Optimizer]) -> dict[str, Any]:
    """Where the numbers are that an optimiser changes itself: (dictionary, key) by name."""
    found: dict[str, Any] = {}
    for name, parameter in parameters.items():
        for optimizer in optimizers:
            state = optimizer.state.get(parameter, {})
            found |= {f"{name}.{key}": (state, key) for key, value in state.items() if isinstance(value, int | float)}
    for number, group in enumerate(_each_group(optimizers)):
        found |= {f"group{number}.{key}": (group, key) for key in CHANGING if key in group}
    return found


def _plain(name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """A tensor, or those that an 8-bit one is made of."""
    inner = getattr(value, "__tensor_flatten__", None)
    if inner is None or type(value) in (Tensor, nn.Parameter):
        yield name, value
        return
    for part in inner()[0]:
        yield f"{name}.{part}", getattr(value, part)


def _each_group(optimizers: Sequence[Optimizer]) -> Iterator[dict[str, Any]]:
    for optimizer in optimizers:
        yield from optimizer.param_groups
