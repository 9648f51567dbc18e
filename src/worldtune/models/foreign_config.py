"""Check untrusted configs, and turn the errors of libraries that read them into one-line BaseErrors."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from worldtune.errors import BaseError, first_line

HINT = "Use the weights and config.json of the same model."
LAYERS = re.compile(r"layers$|blocks$|^depth$")  # keys of a config that count layers
MOST_LAYERS = 1000
# The errors that diffusers, transformers and tokenizers raise for an invalid config.
RAISED = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, AssertionError,
    StrictDataclassError,
)  # fmt: skip


class AsBaseError:
    """A context that turns a library's error about a folder's files into a BaseError.

    tokenizers, written in Rust, raises plain Exception.
    """

    def __init__(self, fault: str, folder: Path) -> None:
        self._fault, self._folder = fault, folder

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and (kind is Exception or isinstance(error, RAISED)):
            raise BaseError(f"{self._fault}: {first_line(error)}", where=str(self._folder), hint=HINT) from error


def check_layer_counts(config: Any, folder: Path) -> None:
    """Raise BaseError if a config has more layers than any base: making them would take hours."""
    if isinstance(config, dict):
        for key, value in config.items():
            if isinstance(value, int | float) and value > MOST_LAYERS and LAYERS.search(key):
                raise BaseError(f"config.json asks for more than {MOST_LAYERS} {key}", where=str(folder), hint=HINT)
            check_layer_counts(value, folder)


def check_sizes(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Raise BaseError if a model has far more weights than its files: a library would first initialize the others."""
    expected = sum(parameter.numel() for parameter in model.parameters())
    found = sum(tensor.numel() for tensor in tensors.values())
    if expected > 2 * found:
        what = f"config.json is of a model of {expected:,} weights; the files hold {found:,}"
        raise BaseError(what, where=str(folder), hint=HINT)
