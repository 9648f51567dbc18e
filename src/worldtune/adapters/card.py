"""The adapter's card, `adapter.json`: its base, its origin, and the preflight check.

The field `digest` is the SHA-256 of the other fields and reveals a changed value. It is not a signature: whoever edits
the card on purpose can compute it again.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from worldtune.adapters.module_spec import ModuleSpec
from worldtune.adapters.spec import AdapterSpec
from worldtune.core.actions.form import ActionForm
from worldtune.core.files import digest_bytes, digest_json, write_json
from worldtune.core.ranges import Count, Fps, Fraction, Frames, PixelSize
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import MIB, parse_json, read_bytes
from worldtune.errors import AdapterError, RecipeError

CARD = "adapter.json"
WEIGHTS = "pytorch_lora_weights.safetensors"
EMBEDDER = "action_embedder.safetensors"
LARGEST = 16 * MIB
FORMAT = 5
HINT = "Export it again."


def _kind(spec: Any) -> str:
    return "modules" if isinstance(spec, ModuleSpec) or (isinstance(spec, dict) and "at" in spec) else "set"


Spec = Annotated[
    Annotated[AdapterSpec, Tag("set")] | Annotated[ModuleSpec, Tag("modules")], Discriminator(_kind)
]  # fmt: skip


class PreflightProof(StrictModel):
    """Losses and velocity differences, measured before step 1 on training clips with fixed noise.

    `reached_tensors` counts the tensors with a finite, nonzero gradient; training does not start unless all have one.
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


class AdapterCard(StrictModel):
    """Everything needed to use the adapter correctly, and its origin.

    `step` is the training step of these weights, `average` the name of their moving average, if any. If another tool
    trained the adapter, `step`, `preflight`, frames, fps, size and fit are unknown and None, and `modes` is empty.
    `tile` holds the rows of cameras in a frame, if there are several; `augment` the augmentation of the clips, if any.
    `actions` is the form in which the adapter reads actions, None if it reads none; `embedder_digest` that of its own
    action embedder's file.
    """

    format: int = FORMAT
    name: str
    adapter: Spec
    base: str
    base_digest: str
    schedule: str
    conditional_sigma: Fraction | None
    modes: dict[str, Fraction]
    frames: Frames | None
    fps: Fps | None
    height: PixelSize | None
    width: PixelSize | None
    fit: Literal["stretch", "cover", "letterbox"] | None
    tile: list[list[str]] | None = None
    augment: dict[str, float] | None = None
    actions: ActionForm | None = None
    embedder_digest: str | None = None
    step: Count | None
    average: str | None
    weights_digest: str
    lineage: dict[str, Any]
    preflight: PreflightProof | None

    @property
    def trained_on(self) -> str:
        """Frames, size and speed of the training clips, as text."""
        if self.frames is None or self.fps is None or self.height is None or self.width is None:
            return "unknown: another tool trained it"
        return f"{self.frames} frames of {self.height}×{self.width} at {self.fps:g} fps"


def write_card(folder: Path, card: AdapterCard) -> None:
    """Write the card into `folder`, with the digest of its fields."""
    fields = card.model_dump(mode="json")
    write_json(folder / CARD, fields | {"digest": digest_json(fields)})


def read_card(folder: Path, digest: str | None = None) -> AdapterCard:
    """Return the card of `folder`. Raise AdapterError if it is missing, invalid, or its bytes do not have `digest`."""
    return read_card_and_digest(folder, digest)[0]


def read_card_and_digest(folder: Path, digest: str | None = None) -> tuple[AdapterCard, str]:
    """Return the card and the digest of its bytes. Raise AdapterError as `read_card` does."""
    path = folder / CARD
    if not path.is_file():
        raise AdapterError(
            f"there is no {CARD}", where=str(folder), hint="Specify an adapter folder that `worldtune train` wrote."
        )
    content = read_bytes(path, LARGEST, AdapterError, HINT)
    found_digest = digest_bytes(content)
    if digest not in (None, found_digest):
        what = f"its {CARD} has changed since it was verified"
        raise AdapterError(what, where=str(folder), hint="Stop the program that changes the folder, and run again.")
    return parse_card(content, str(path)), found_digest


def parse_card(content: bytes, where: str) -> AdapterCard:
    """Return the card in a file's content. Raise AdapterError if it is invalid or its fields do not have its digest."""
    data = parse_json(content, where, error=AdapterError, hint=HINT)
    fields = {key: value for key, value in data.items() if key != "digest"} if isinstance(data, dict) else data
    found = fields.get("format", FORMAT) if isinstance(fields, dict) else FORMAT
    if found != FORMAT:
        raise AdapterError(f"{CARD} is of format {found}; this worldtune reads {FORMAT}", where=where, hint=HINT)
    try:
        card = parse_model(AdapterCard, fields, where)
    except RecipeError as error:
        raise AdapterError(error.what, where=error.where, hint=HINT) from error
    if data.get("digest") != digest_json(fields):
        fault = "its fields do not match its digest" if "digest" in data else "it has no digest"
        raise AdapterError(f"{CARD} was changed: {fault}", where=where, hint=HINT)
    return card
