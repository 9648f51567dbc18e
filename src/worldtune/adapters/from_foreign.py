"""Write another tool's adapter as an adapter folder: with a card, without a preflight check."""

from collections.abc import Callable, Mapping
from math import isclose
from pathlib import Path
from typing import Any, Literal

from worldtune.adapters.card import WEIGHTS, AdapterCard, write_card
from worldtune.adapters.folder import stated_config
from worldtune.adapters.layers.low_rank import LowRank
from worldtune.adapters.merge import check_output, write_named_weights
from worldtune.adapters.module_spec import ModuleRank, ModuleSpec
from worldtune.adapters.spec import TARGETS, AdapterSpec
from worldtune.adapters.targets import IN_BLOCK, linear_of
from worldtune.core.files import atomic_folder, digest_file
from worldtune.errors import AdapterError

CONVERT = "Merge it into the base, or convert it without --base: diffusers and PEFT read ranks per module."
BASE_FIELDS = ("source", "trained_as", "revision", "digest")


def save_from_foreign(
    folder: Path,
    layers: Mapping[str, LowRank],
    source: Path,
    base: Mapping[str, Any],
    blocks: int,
    check: Callable[[Path], None] = lambda folder: None,
) -> AdapterCard:
    """Write the adapter folder for a base with these card fields and number of blocks, and return the card.

    The training data are unknown. `check` is called with the finished folder before it gets its final name. Raise
    AdapterError if no card can describe the adapter.
    """
    check_output(folder, folder=True)
    spec = spec_of(layers, source, blocks)
    with atomic_folder(folder) as partial:
        write_named_weights(partial, layers, stated_config(spec))
        card = AdapterCard(
            name=source.stem,
            adapter=spec,
            base=base["name"],
            base_digest=base["digest"],
            schedule=str(base["schedule"]),
            conditional_sigma=base["conditional_sigma"],
            modes={},
            frames=None,
            fps=None,
            height=None,
            width=None,
            fit=None,
            weights_digest=digest_file(partial / WEIGHTS),
            lineage={
                "imported": source.name,
                "modules": len(layers),
                "base": {key: base[key] for key in BASE_FIELDS if key in base},
            },
            step=None,
            average=None,
            preflight=None,
        )
        write_card(partial, card)
        check(partial)
    return card


def spec_of(layers: Mapping[str, LowRank], source: Path, blocks: int) -> AdapterSpec | ModuleSpec:
    """Return the spec of an adapter for a base of so many blocks: a set of targets if possible, else module by module.

    Raise AdapterError if it adapts modules other than linear layers, is a DoRA on some modules only, or a DoRA over
    inputs.
    """
    if unsupported := [name for name in layers if linear_of(name) is None]:
        what = f"it adapts {unsupported[0]}, which worldtune does not support"
        raise AdapterError(what, where=str(source), hint=CONVERT)
    if over_inputs := [name for name, layer in layers.items() if layer.magnitude_I is not None]:
        what = f"{over_inputs[0]} is a DoRA over inputs (LyCORIS), which diffusers cannot represent"
        raise AdapterError(what, where=str(source), hint="Convert it to comfyui or kohya, or merge it into its base.")
    if len({layer.magnitude_O is None for layer in layers.values()}) > 1:
        raise AdapterError("it is a DoRA on some modules and a LoRA on others", where=str(source), hint=CONVERT)
    method: Literal["lora", "dora"] = "lora" if next(iter(layers.values())).magnitude_O is None else "dora"
    return _spec_of_targets(layers, method, blocks) or ModuleSpec(
        method=method, at={name: ModuleRank(rank=layer.rank, alpha=layer.alpha) for name, layer in layers.items()}
    )


def _spec_of_targets(layers: Mapping[str, LowRank], method: Literal["lora", "dora"], blocks: int) -> AdapterSpec | None:
    """Return the spec if all blocks have the same linears, ranks and one scale; else None."""
    ranks = {str(linear_of(name)): layer.rank for name, layer in layers.items()}
    scale = next(iter(layers.values())).scale
    everywhere = {
        f"transformer_blocks.{block}.{linear}" if linear in IN_BLOCK else linear
        for linear in ranks
        for block in range(blocks)
    }
    if (
        layers.keys() != everywhere
        or any(layer.rank != ranks[str(linear_of(name))] for name, layer in layers.items())
        or not all(isclose(layer.scale, scale, rel_tol=1e-6) for layer in layers.values())
    ):
        return None
    rank = max(sorted(set(ranks.values())), key=list(ranks.values()).count)
    names = {frozenset(AdapterSpec(targets=known).linears): known for known in TARGETS}
    return AdapterSpec(
        method=method,
        rank=rank,
        alpha=next(layer.alpha for layer in layers.values() if layer.rank == rank),
        targets=names.get(frozenset(ranks)) or tuple(ranks),
        ranks={linear: other for linear, other in ranks.items() if other != rank},
    )
