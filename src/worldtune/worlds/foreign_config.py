"""Other people's configs in the hands of libraries that check little: whatever they make of one is one line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import Tensor, nn

from worldtune.errors import BaseError, first_line

MEND = "Use the weights and config.json of one and the same model."
LAYERS = re.compile(r"layers$|blocks$|^depth$")  # keys of a config that say how many there are
MOST_LAYERS = 1000
# What diffusers, transformers and tokenizers raise for a config that is wrong somewhere.
RAISED = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError, AssertionError,
    StrictDataclassError,
)  # fmt: skip


class OneLine:
    """Within, what a library says of a folder's files is a BaseError; tokenizers, in Rust, raises Exception itself."""

    def __init__(self, fault: str, folder: Path) -> None:
        self._fault, self._folder = fault, folder

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and (kind is Exception or isinstance(error, RAISED)):
            raise BaseError(f"{self._fault}: {first_line(error)}", where=str(self._folder), mend=MEND) from error


def refuse_endless(config: Any, folder: Path) -> None:
    """Raises BaseError when a config asks for more layers than any base has: making them would take hours."""
    if isinstance(config, dict):
        for key, value in config.items():
            if isinstance(value, int | float) and value > MOST_LAYERS and LAYERS.search(key):
                raise BaseError(f"config.json asks for more than {MOST_LAYERS} {key}", where=str(folder), mend=MEND)
            refuse_endless(value, folder)


def refuse_larger(model: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Raises BaseError when a model has far more weights than its files: a library would fill them in first."""
    asked = sum(parameter.numel() for parameter in model.parameters())
    found = sum(tensor.numel() for tensor in tensors.values())
    if asked > 2 * found:
        what = f"config.json is of a model of {asked:,} weights, the files hold {found:,}"
        raise BaseError(what, where=str(folder), mend=MEND)
