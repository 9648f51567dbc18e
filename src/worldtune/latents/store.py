"""A content-addressed store of tensors: one safetensors file a key, written whole or not at all.

A key is the digest of everything the tensor depends on: weights, input, and the libraries that compute it.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from worldtune.errors import DataError
from worldtune.files import atomic_file, digest_bytes, digest_json


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
        save_tensor(path, tensor, key=repr(key))
        return path


def save_tensor(path: Path, tensor: Tensor, **about: str) -> None:
    """Write `tensor` with its own digest, atomically."""
    kept = tensor.detach().cpu().contiguous()
    with atomic_file(path) as partial:
        written = json.dumps({**about, "sha256": _digest(kept)})  # one entry: safetensors writes several in any order
        save_file({"tensor": kept}, partial, metadata={"written": written})


def load_tensor(path: Path) -> Tensor:
    """What `save_tensor` wrote. Raises DataError when the file is gone, or any byte of the tensor is another."""
    try:
        with safe_open(path, framework="pt") as file:
            tensor, written = file.get_tensor("tensor"), json.loads((file.metadata() or {}).get("written", "{}"))
        if _digest(tensor) == written.get("sha256"):
            return tensor
        fault = "its bytes are not those that were written"
    except (OSError, SafetensorError, ValueError) as error:
        fault = str(error)
    what = f"a tensor of the latent store cannot be read: {fault}"
    raise DataError(what, where=str(path), mend="Delete the file: it is made again.")


def _digest(tensor: Tensor) -> str:
    return digest_bytes(tensor.reshape(-1).view(torch.uint8).numpy().data)
