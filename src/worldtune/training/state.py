"""The state that training changes: the adapter, its optimizer and its moving averages. Saved and restored exactly."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from worldtune.training.checkpoint import load_checkpoint, save_checkpoint
from worldtune.training.optim.ema import init_ema, update_ema
from worldtune.training.optim.optimizers import make_optimizers, materialize, set_rates, state_numbers, state_tensors
from worldtune.training.recipe import Train


class TrainingState:
    """The trained `parameters` of an adapter by name, with optimizer and averages; `frozen` are its frozen factors."""

    def __init__(
        self, parameters: Mapping[str, nn.Parameter], settings: Train, frozen: Mapping[str, Tensor] | None = None
    ) -> None:
        self.parameters, self._settings, self._frozen = parameters, settings, frozen or {}
        self._optimizers = make_optimizers(parameters, settings)
        self._averages = init_ema(settings.ema, parameters)

    def zero_grad(self) -> None:
        for parameter in self.parameters.values():
            parameter.grad = None

    def clip_gradients(self) -> float:
        """Scale the gradients down to the recipe's largest norm, and return the norm before."""
        return torch.nn.utils.clip_grad_norm_(self.parameters.values(), self._settings.clip_grad).item()

    def step(self, rate: float, update: int) -> None:
        """Take one optimizer step at `rate` times its highest rate; `update` counts from 1."""
        set_rates(self._optimizers, rate)
        for optimizer in self._optimizers:
            optimizer.step()
        # Autograd does not see the writes of a fused step or one on .data: DoRA would reuse the previous step's norm.
        increment_version(self.parameters.values())
        update_ema(self._settings.ema, self._averages, self.parameters, update)

    def save(self, folder: Path, step: int) -> None:
        """Write the checkpoint of `step`. Raise UserError as `save_checkpoint` does."""
        save_checkpoint(folder, step, self._tensors() | self._numbers())

    def load(self, checkpoint: Path) -> None:
        """Restore everything. Raise UserError if the checkpoint cannot be read or is of another adapter."""
        materialize(self._optimizers)
        numbers = self._numbers()
        load_checkpoint(checkpoint, self._tensors() | numbers)
        for name, (owner, key) in state_numbers(self.parameters, self._optimizers).items():
            owner[key] = type(owner[key])(numbers[f"number.{name}"].item())

    def load_weights(self, checkpoint: Path, average: str | None) -> None:
        """Restore only the adapter: its weights, or one of its averages. Raise UserError as `load` does."""
        weights = {_key(name, average): p.detach() for name, p in self.parameters.items()}
        load_checkpoint(checkpoint, weights | self._frozen_tensors())

    @contextmanager
    def use_ema(self, average: str) -> Iterator[None]:
        """Give the adapter the weights of an average inside the block."""
        weights = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        self._set(self._averages[average])
        try:
            yield
        finally:
            self._set(weights)

    @torch.no_grad()
    def _set(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])

    def _tensors(self) -> dict[str, Tensor]:
        """Return the tensors by name. They share memory with the live objects, so loading into them restores these."""
        tensors = {_key(name, None): parameter.detach() for name, parameter in self.parameters.items()}
        for average, weights in self._averages.items():
            tensors |= {_key(name, average): tensor for name, tensor in weights.items()}
        found = state_tensors(self.parameters, self._optimizers)
        return tensors | {f"optimizer.{name}": tensor for name, tensor in found.items()} | self._frozen_tensors()

    def _frozen_tensors(self) -> dict[str, Tensor]:
        return {f"frozen.{name}": tensor for name, tensor in self._frozen.items()}

    def _numbers(self) -> dict[str, Tensor]:
        found: dict[str, Any] = state_numbers(self.parameters, self._optimizers)
        return {
            f"number.{n}": torch.tensor(float(owner[key]), dtype=torch.float64) for n, (owner, key) in found.items()
        }


def _key(name: str, average: str | None) -> str:
    return f"average.{average}.{name}" if average else f"adapter.{name}"
