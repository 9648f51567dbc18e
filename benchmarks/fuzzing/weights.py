"""Readers of tensors: safetensors, torch's files, checkpoints, latents."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.fuzzing.pickles import parse_checkpoint_entries, parse_old_pt, parse_pt
from benchmarks.fuzzing.reader import Reader
from benchmarks.fuzzing.tensors import Tensors, parse_safetensors, summarize_tensors
from worldtune.adapters.formats import METADATA
from worldtune.core.tensors.read import read_tensors
from worldtune.latents.store import LatentStore, load_tensor
from worldtune.training.checkpoint import checkpoints, load_checkpoint, save_checkpoint

KEYS: tuple[dict[str, object], ...] = ({"clip": 1}, {"clip": 2}, {"prompt": "lift"})


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _tensors() -> dict[str, Tensor]:
    return {
        "a.weight": random_tensor(48, 64),
        "b.bias": random_tensor(5).half(),
        "steps": torch.tensor(7),
        "none": torch.empty(0, 2),
    }


def _file(name: str) -> Any:
    return lambda folder: summarize_tensors(read_tensors(folder / name))


def _make_safetensors(folder: Path) -> None:
    tensors = _tensors() | {"c": random_tensor(2, 2).bfloat16()}
    save_file(tensors, folder / "a.safetensors", metadata={"format": "pt", METADATA: '{"r": 4, "lora_alpha": 8}'})


def _empty_tensors() -> dict[str, Tensor]:
    return {name: torch.zeros_like(tensor) for name, tensor in _tensors().items()}


def _make_run(folder: Path) -> None:
    save_checkpoint(folder, 10, _tensors())


def _read_run(folder: Path) -> Tensors:
    into = _empty_tensors()
    (newest,) = checkpoints(folder)
    load_checkpoint(newest, into)
    return summarize_tensors(into)


def _expect_dcp(folder: Path) -> dict[str, Any]:
    return {"entries": [entry for file in sorted(folder.rglob("*.distcp")) for entry in parse_checkpoint_entries(file)]}


def _entries_agree(found: Any, expected: Any) -> bool:
    """Return whether the tensors found are exactly the entries of the checkpoint's files, or those of the sound one."""
    return set(found.values()) == set(expected["entries"]) if "entries" in expected else bool(found == expected)


def _make_dcp(folder: Path) -> None:
    dcp.save(dict(_tensors()), checkpoint_id=folder / "model", no_dist=True)


def _make_latents(folder: Path) -> None:
    store = LatentStore(folder)
    for number, key in enumerate(KEYS):
        store.save(random_tensor(2, 3, seed=number), key)


def _read_latents(folder: Path) -> Tensors:
    """Return the tensors that the store finds; missing ones would be encoded again."""
    store = LatentStore(folder)
    found = {str(key): entry for key in KEYS if (entry := store.find(key)) is not None}
    return summarize_tensors({name: load_tensor(entry) for name, entry in found.items()})


def _is_subset(found: Any, sound: Any) -> bool:
    return set(found.items()) <= set(sound.items())


READERS = (
    Reader(
        "safetensors",
        "the format's specification, by itself",
        _make_safetensors,
        _file("a.safetensors"),
        lambda folder: parse_safetensors(folder / "a.safetensors"),
    ),
    Reader(
        ".pt",
        "the zip's checksums and a pickle read by NumPy",
        lambda folder: torch.save(_tensors(), folder / "a.pt"),
        _file("a.pt"),
        lambda folder: parse_pt(folder / "a.pt"),
    ),
    Reader(
        ".pt of old",
        "its pickles read by NumPy",
        lambda folder: torch.save(_tensors(), folder / "old.pt", _use_new_zipfile_serialization=False),
        _file("old.pt"),
        lambda folder: parse_old_pt(folder / "old.pt"),
    ),
    Reader("checkpoint of a run", "the checkpoint that was written", _make_run, _read_run),
    Reader(
        "DCP of another tool",
        "its entries, by their checksums and NumPy",
        _make_dcp,
        _file("model"),
        _expect_dcp,
        agree=_entries_agree,
    ),
    Reader("latent store", "the tensors that were put in", _make_latents, _read_latents, agree=_is_subset),
)
