"""The adapter's card, `adapter.json`: what it was made for, from what, and the proof that it does something.

The file's field `digest` is the SHA-256 of its other fields, so that a value that changed since is noticed. It is no
signature: whoever edits the card on purpose can compute it again.
"""

from pathlib import Path
from typing import Any, Literal

from worldtune.adapters.spec import AdapterSpec
from worldtune.core.ranges import Count, Fps, Frames, Share, Side
from worldtune.core.strict_io import MIB, parse_json, read_bytes
from worldtune.errors import AdapterError, RecipeError
from worldtune.files import digest_bytes, digest_json, write_json
from worldtune.strict import Strict, parse

CARD = "adapter.json"
WEIGHTS = "pytorch_lora_weights.safetensors"
LARGEST = 16 * MIB
FORMAT = 3
MEND = "Export it again."


class BirthProof(Strict):
    """Measured at birth, on clips of the training set with fixed noise: losses, and differences of velocities.

    `reached_tensors` got a finite gradient that is not zero: all of them, or there would be no adapter.
    """

    base_tensors: Count
    wrapped_modules: Count
    expected_modules: Count
    trainable_parameters: Count
    zero_step_difference: float
    first_loss: float
    first_loss_band: tuple[float, float]
    reached_tensors: Count
    trained_difference: float | None = None
    final_loss: float | None = None


class AdapterCard(Strict):
    """Everything without which the adapter would be wrong, and where it comes from.

    `step` is that of the run whose weights these are, `average` the moving average they are, if any; `birth` is None,
    as `step`, for an adapter that another tool trained. `tile` are the rows of cameras that its pictures show, if
    several; `augment` how its clips were changed besides, if at all.
    """

    format: int = FORMAT
    name: str
    adapter: AdapterSpec
    base: str
    base_digest: str
    schedule: str
    conditional_sigma: Share | None
    modes: dict[str, Share]
    frames: Frames
    fps: Fps
    height: Side
    width: Side
    fit: Literal["stretch", "cover", "letterbox"]
    tile: list[list[str]] | None = None
    augment: dict[str, float] | None = None
    step: Count | None
    average: str | None
    weights_digest: str
    lineage: dict[str, Any]
    birth: BirthProof | None


def write_card(folder: Path, card: AdapterCard) -> None:
    """Write the card into `folder`, with the digest of its fields."""
    fields = card.model_dump(mode="json")
    write_json(folder / CARD, fields | {"digest": digest_json(fields)})


def read_card(folder: Path, digest: str | None = None) -> AdapterCard:
    """Raises AdapterError when the folder has no card, it cannot be read, or it has another `digest` than is given."""
    return read_card_and_digest(folder, digest)[0]


def read_card_and_digest(folder: Path, digest: str | None = None) -> tuple[AdapterCard, str]:
    """The card, and the digest of the bytes that it was read from. Raises AdapterError as `read_card` does."""
    path = folder / CARD
    if not path.is_file():
        raise AdapterError(
            f"there is no {CARD}", where=str(folder), mend="Name an adapter folder, as `worldtune train` writes it."
        )
    content = read_bytes(path, LARGEST, AdapterError, MEND)
    found_digest = digest_bytes(content)
    if digest not in (None, found_digest):
        what = f"its {CARD} was changed: it is not the one that was verified"
        raise AdapterError(what, where=str(folder), mend="Run it again: what changes the folder must not.")
    return parse_card(content, str(path)), found_digest


def parse_card(content: bytes, where: str) -> AdapterCard:
    """The card that a file holds. Raises AdapterError when it is none, or its fields are not those of its digest."""
    data = parse_json(content, where, error=AdapterError, mend=MEND)
    fields = {key: value for key, value in data.items() if key != "digest"} if isinstance(data, dict) else data
    found = fields.get("format", FORMAT) if isinstance(fields, dict) else FORMAT
    if found != FORMAT:
        raise AdapterError(f"{CARD} is of format {found}, this worldtune reads {FORMAT}", where=where, mend=MEND)
    try:
        card = parse(AdapterCard, fields, where)
    except RecipeError as error:
        raise AdapterError(error.what, where=error.where, mend=MEND) from error
    if data.get("digest") != digest_json(fields):
        fault = "its fields are not those of its digest" if "digest" in data else "it has no digest"
        raise AdapterError(f"{CARD} is not what was written: {fault}", where=where, mend=MEND)
    return card
