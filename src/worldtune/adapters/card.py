"""The adapter's card, `adapter.json`: what it was made for, from what, and the proof that it does something."""

from pathlib import Path
from typing import Any, Literal

from worldtune.adapters.spec import AdapterSpec
from worldtune.errors import AdapterError, first_line
from worldtune.files import write_json
from worldtune.strict import Strict

CARD = "adapter.json"
FORMAT = 1


class BirthProof(Strict):
    """Measured at birth, on one clip of the training set with fixed noise: losses, and differences of velocities."""

    base_tensors: int
    wrapped_modules: int
    expected_modules: int
    trainable_parameters: int
    zero_step_difference: float
    first_loss: float
    dead_tensors: list[str]
    trained_difference: float | None = None
    final_loss: float | None = None


class AdapterCard(Strict):
    """Everything without which the adapter would be wrong, and where it comes from.

    `birth` is None for an adapter that another tool trained.
    """

    format: int = FORMAT
    name: str
    adapter: AdapterSpec
    base: str
    base_digest: str
    schedule: str
    conditional_sigma: float | None
    modes: dict[str, float]
    frames: int
    fps: float
    height: int
    width: int
    fit: Literal["stretch", "cover", "letterbox"]
    weights_digest: str
    lineage: dict[str, Any]
    birth: BirthProof | None


def write_card(folder: Path, card: AdapterCard) -> None:
    write_json(folder / CARD, card.model_dump(mode="json"))


def read_card(folder: Path) -> AdapterCard:
    """Raises AdapterError when the folder has no card or it cannot be read."""
    path = folder / CARD
    if not path.is_file():
        raise AdapterError(
            f"there is no {CARD}", where=str(folder), mend="Name an adapter folder, as `worldtune train` writes it."
        )
    try:
        card = AdapterCard.model_validate_json(path.read_text())
    except ValueError as error:
        raise AdapterError(
            f"{CARD} cannot be read: {first_line(error)}", where=str(folder), mend="Export it again."
        ) from error
    if card.format != FORMAT:
        raise AdapterError(
            f"{CARD} is of format {card.format}, this worldtune reads {FORMAT}",
            where=str(folder),
            mend="Export it again.",
        )
    return card
