"""An adapter that was trained by another tool, as an adapter folder of ours: with a card, without a birth proof."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldtune.adapters.card import AdapterCard, write_card
from worldtune.adapters.exchange import refuse_out, write_named_weights
from worldtune.adapters.folder import WEIGHTS
from worldtune.adapters.formats import config_of
from worldtune.adapters.low_rank import LowRank
from worldtune.adapters.spec import TARGETS, AdapterSpec
from worldtune.errors import AdapterError
from worldtune.files import atomic_folder, digest_file


def save_imported(folder: Path, layers: Mapping[str, LowRank], source: Path, base: Mapping[str, Any]) -> AdapterCard:
    """Write the adapter for the base whose card's fields are `base`; its frames and size are taken to be the base's.

    Raises AdapterError when the adapter is of a shape that `AdapterSpec` cannot say.
    """
    refuse_out(folder, folder=True)
    spec = spec_of(layers, source)
    config = config_of(layers) | {"target_modules": sorted(spec.modules)}
    with atomic_folder(folder) as partial:
        write_named_weights(partial, layers, config)
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
            birth=None,
        )
        write_card(partial, card)
    return card


def spec_of(layers: Mapping[str, LowRank], source: Path) -> AdapterSpec:
    """The spec of an adapter with one rank and alpha on all linears of a known set. Raises AdapterError otherwise."""
    shapes = {(layer.rank, layer.alpha, layer.magnitude_O is not None) for layer in layers.values()}
    mend = "Convert it without --base: diffusers and PEFT read it, with its ranks by module."
    if len(shapes) != 1:
        raise AdapterError(f"it has {len(shapes)} ranks or alphas", where=str(source), mend=mend)
    ((rank, alpha, dora),) = shapes
    for targets, modules in TARGETS.items():
        if all(name.endswith(tuple(f".{module}" for module in modules)) for name in layers) and all(
            any(name.endswith(f".{module}") for name in layers) for module in modules
        ):
            return AdapterSpec(method="dora" if dora else "lora", rank=rank, alpha=alpha, targets=targets)
    raise AdapterError("it sits on modules of no known set", where=str(source), mend=mend)
