"""A content-addressed store of tensors: one safetensors file a key, written whole or not at all.

A key is the digest of everything the tensor depends on, so a stale hit cannot happen.
"""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

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
    """The tensor of a path that `LatentStore.save` returned."""
    return load_file(path)["tensor"]
