"""A content-addressed store of tensors: one safetensors file a key, written whole or not at all.

A key is the digest of everything the tensor depends on: weights, input, and the libraries that compute it.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from worldtune.errors import DataError
from worldtune.files import atomic_file, digest_json


class LatentStore:
    """Tensors under `folder`, by the digest of what made them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: dict[str, Any]) -> Path:
        """Where the tensor of `key` is, or would be."""
        digest = digest_json(key)
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def save(self, key: dict[str, Any], tensor: Tensor) -> Path:
        """Write `tensor` under `key` atomically and return its path."""
        path = self.path(key)
        with atomic_file(path) as partial:
            save_file({"tensor": tensor.detach().cpu().contiguous()}, partial, metadata={"key": repr(key)})
        return path


def load_tensor(path: Path) -> Tensor:
    """The tensor of a path that `LatentStore.save` returned. Raises DataError when the file is gone or damaged."""
    try:
        return load_file(path)["tensor"]
    except (OSError, SafetensorError) as error:
        fault = str(error)
    except KeyError as error:
        fault = f"it holds no {error}"
    what = f"a tensor of the latent store cannot be read: {fault}"
    raise DataError(what, where=str(path), mend="Delete the file: it is made again.")
