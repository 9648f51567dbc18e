"""An adapter that was trained by another tool, as an adapter folder of ours: with a card, without a birth proof."""

from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any

from worldtune.adapters.card import WEIGHTS, AdapterCard, write_card
from worldtune.adapters.exchange import refuse_out, write_named_weights
from worldtune.adapters.folder import stated_config
from worldtune.adapters.low_rank import LowRank
from worldtune.adapters.spec import TARGETS, AdapterSpec
from worldtune.adapters.targets import IN_BLOCK, linear_of
from worldtune.errors import AdapterError
from worldtune.files import atomic_folder, digest_file

CONVERT = "Convert it without --base: diffusers and PEFT read it, with its ranks by module."


def save_imported(folder: Path, layers: Mapping[str, LowRank], source: Path, base: Mapping[str, Any]) -> AdapterCard:
    """Write the adapter for the base whose card's fields are `base`; its frames and size are taken to be the base's.

    Raises AdapterError when the adapter is of a shape that `AdapterSpec` cannot say.
    """
    refuse_out(folder, folder=True)
    spec = spec_of(layers, source)
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
            frames=base["frames"],
            fps=base["fps"],
            height=base["height"],
            width=base["width"],
            fit="stretch",
            weights_digest=digest_file(partial / WEIGHTS),
            lineage={"imported": source.name, "modules": len(layers)},
            step=None,
            average=None,
            birth=None,
        )
        write_card(partial, card)
    return card


def spec_of(layers: Mapping[str, LowRank], source: Path) -> AdapterSpec:
    """The spec of an adapter on the same linears of every block, each of one rank, at one scale throughout.

    Raises AdapterError otherwise.
    """
    linears = {name: linear_of(name) for name in layers}
    blocks: dict[str, set[str | None]] = {}
    for name, linear in linears.items():
        if linear in IN_BLOCK:
            blocks.setdefault(name.removesuffix(f".{linear}"), set()).add(linear)
    if None in linears.values() or any(its != next(iter(blocks.values())) for its in blocks.values()):
        raise AdapterError("it sits on modules of no known set", where=str(source), mend=CONVERT)
    ranks = {str(linears[name]): layer.rank for name, layer in layers.items()}
    scale = next(iter(layers.values())).scale
    if any(layer.rank != ranks[str(linears[name])] for name, layer in layers.items()):
        raise AdapterError("one linear has other ranks from block to block", where=str(source), mend=CONVERT)
    if not all(isclose(layer.scale, scale, rel_tol=1e-6) for layer in layers.values()):
        scales = len({layer.scale for layer in layers.values()})
        raise AdapterError(f"it has {scales} scales alpha/rank", where=str(source), mend=CONVERT)
    if len({layer.magnitude_O is None for layer in layers.values()}) > 1:
        raise AdapterError("it is a DoRA on some modules and a LoRA on others", where=str(source), mend=CONVERT)
    rank = max(sorted(set(ranks.values())), key=list(ranks.values()).count)
    names = {frozenset(AdapterSpec(targets=known).linears): known for known in TARGETS}
    return AdapterSpec(
        method="lora" if next(iter(layers.values())).magnitude_O is None else "dora",
        rank=rank,
        alpha=next(layer.alpha for layer in layers.values() if layer.rank == rank),
        targets=names.get(frozenset(ranks)) or tuple(ranks),
        ranks={linear: own for linear, own in ranks.items() if own != rank},
    )
