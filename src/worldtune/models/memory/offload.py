"""Offload: choose the parts of a base that are resident in the accelerator's memory.

`none`: all parts, always. `sequential`: only the text encoder, the denoiser's blocks, or the codec. `group`: the same,
but the denoiser's blocks and the text encoder's layers are resident one by one. Frozen weights stay in the CPU's memory
and are copied to the device, so removing them costs nothing; trained tensors do not move. Results are the same.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Literal
from weakref import WeakSet

import torch
from torch import Tensor, nn

Offload = Literal["none", "sequential", "group"]
ResidentContext = Callable[[nn.Module], AbstractContextManager[None]]


def no_offload(module: nn.Module) -> AbstractContextManager[None]:
    """Return a context that does not move `module`."""
    return nullcontext()


@contextmanager
def resident_copy(module: nn.Module, device: torch.device, without: nn.Module | None = None) -> Iterator[None]:
    """Inside, keep the frozen tensors of `module`, except those below `without`, on `device`; then restore them."""
    left_out = set(without.modules()) if without is not None else set()
    originals: list[tuple[dict[str, Any], str, Tensor]] = []
    for owner in module.modules():
        if owner not in left_out:
            stores: list[dict[str, Any]] = [owner._parameters, owner._buffers]
            for tensors in stores:
                frozen = [(tensors, name, t) for name, t in tensors.items() if t is not None and not t.requires_grad]
                originals += frozen
    try:
        for tensors, name, tensor in originals:
            copy = tensor.detach().to(device, non_blocking=True)
            tensors[name] = nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
        yield
    finally:
        for tensors, name, tensor in originals:
            tensors[name] = tensor


def pin_memory(module: nn.Module) -> None:
    """Pin the frozen CPU tensors of `module` in memory, which a GPU reads several times faster.

    Warn if memory cannot be pinned.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.requires_grad or tensor.device.type != "cpu" or tensor.is_pinned():
            continue
        try:
            tensor.data = tensor.data.pin_memory()
        except RuntimeError as error:  # the machine's limit: results are the same, but slower
            warnings.warn(f"offloading is slow, because memory cannot be pinned: {error}", stacklevel=2)
            return


def offload_layers(layers: nn.ModuleList, device: torch.device) -> None:
    """Register hooks that keep each of `layers` on `device` only while it computes."""
    for layer in layers:
        stack = ExitStack()
        layer.register_forward_pre_hook(lambda layer, inputs, s=stack: s.enter_context(resident_copy(layer, device)))
        layer.register_forward_hook(lambda layer, inputs, outputs, s=stack: s.close(), always_call=True)


class ModuleOffloader:
    """The owner of `device`: with an offload only one part of a base is resident there at a time."""

    def __init__(self, offload: Offload, device: torch.device) -> None:
        self.offload = offload
        self.device = device
        self._resident_part: nn.Module | None = None
        self._copies = ExitStack()
        self._pinned: WeakSet[nn.Module] = WeakSet()

    @property
    def offload_device(self) -> torch.device:
        """The device that stores the parts."""
        return self.device if self.offload == "none" else torch.device("cpu")

    @property
    def resident(self) -> ResidentContext:
        """The context in which a block of the denoiser computes."""
        return self._resident_block if self.offload == "group" else no_offload

    def _resident_block(self, block: nn.Module) -> AbstractContextManager[None]:
        if self.device.type == "cuda" and block not in self._pinned:  # it is copied again and again
            pin_memory(block)
            self._pinned.add(block)
        return resident_copy(block, self.device)

    def take(self, part: nn.Module, one_by_one: nn.Module | None = None) -> None:
        """Make `part` resident instead of the current part; with `group`, without the modules below `one_by_one`."""
        if self.offload == "none" or self._resident_part is part:
            return
        self.end()
        self._copies.enter_context(resident_copy(part, self.device, one_by_one if self.offload == "group" else None))
        self._resident_part = part

    def end(self) -> None:
        """Move the resident part back to the offload device."""
        self._copies.close()
        self._resident_part = None
