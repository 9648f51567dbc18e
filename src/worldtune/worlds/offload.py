"""Which parts of a base are in the accelerator's memory, and when.

`none`: all of them, always. `sequential`: the text encoder, the denoiser's blocks and the codec take turns. `group`: in
their turns the denoiser's blocks and the text encoder's layers come one by one. Frozen weights stay in the CPU's memory
and visit as copies, so leaving costs nothing; what is trained stays where it is. What is computed is the same.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Literal
from weakref import WeakSet

import torch
from torch import Tensor, nn

Offload = Literal["none", "sequential", "group"]
Visit = Callable[[nn.Module], AbstractContextManager[None]]


def stay(module: nn.Module) -> AbstractContextManager[None]:
    """`module` computes where it is."""
    return nullcontext()


@contextmanager
def visiting(module: nn.Module, device: torch.device, without: nn.Module | None = None) -> Iterator[None]:
    """The tensors of `module` are on `device` within, but for those below `without`, and at home again after."""
    left_out = set(without.modules()) if without is not None else set()
    homes: list[tuple[dict[str, Any], str, Tensor]] = []
    for owner in module.modules():
        if owner not in left_out:
            own: list[dict[str, Any]] = [owner._parameters, owner._buffers]
            for tensors in own:
                homes += [(tensors, name, t) for name, t in tensors.items() if t is not None and not t.requires_grad]
    try:
        for tensors, name, tensor in homes:
            copy = tensor.detach().to(device, non_blocking=True)
            tensors[name] = nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
        yield
    finally:
        for tensors, name, tensor in homes:
            tensors[name] = tensor


def pin(module: nn.Module) -> None:
    """Let the frozen tensors of `module` lie in memory of the CPU that a GPU reads by itself, several times faster."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.requires_grad or tensor.device.type != "cpu" or tensor.is_pinned():
            continue
        try:
            tensor.data = tensor.data.pin_memory()
        except RuntimeError as error:  # a limit of the machine's: it computes the same, and waits longer
            warnings.warn(f"blocks come slowly, as memory cannot be pinned: {error}", stacklevel=2)
            return


def visit_one_by_one(layers: nn.ModuleList, device: torch.device) -> None:
    """From now on each of `layers` is on `device` while it computes, and only then."""
    for layer in layers:
        guests = ExitStack()
        layer.register_forward_pre_hook(lambda layer, inputs, g=guests: g.enter_context(visiting(layer, device)))
        layer.register_forward_hook(lambda layer, inputs, outputs, g=guests: g.close(), always_call=True)


class Turns:
    """The parts of a base take turns on `device`; a part that comes sends the one before it home."""

    def __init__(self, offload: Offload, device: torch.device) -> None:
        self.offload = offload
        self.device = device
        self._whose: nn.Module | None = None
        self._guests = ExitStack()
        self._pinned: WeakSet[nn.Module] = WeakSet()

    @property
    def home(self) -> torch.device:
        """Where parts are kept."""
        return self.device if self.offload == "none" else torch.device("cpu")

    @property
    def visit(self) -> Visit:
        """What a block of the denoiser computes within."""
        return self._come if self.offload == "group" else stay

    def _come(self, block: nn.Module) -> AbstractContextManager[None]:
        if self.device.type == "cuda" and block not in self._pinned:  # it comes again and again
            pin(block)
            self._pinned.add(block)
        return visiting(block, self.device)

    def take(self, part: nn.Module, one_by_one: nn.Module | None = None) -> None:
        """It is the turn of `part`; those below `one_by_one` come by themselves in a group."""
        if self.offload == "none" or self._whose is part:
            return
        self.end()
        self._guests.enter_context(visiting(part, self.device, one_by_one if self.offload == "group" else None))
        self._whose = part

    def end(self) -> None:
        """Nobody's turn."""
        self._guests.close()
        self._whose = None
