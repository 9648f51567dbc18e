"""The card of an IDM: what it reads, what it was trained on, and how well it reads held-out videos."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from worldtune.core.actions.space import ActionSpace
from worldtune.core.files import digest_bytes, digest_json, write_json
from worldtune.core.ranges import Count, Fps, Frames, PixelSize
from worldtune.core.settings import StrictModel, parse_model
from worldtune.core.strict_io import MIB, parse_json, read_bytes
from worldtune.dreams.idm.statistics import TargetStatistics
from worldtune.errors import DataError, RecipeError

CARD, WEIGHTS = "idm.json", "weights.safetensors"
FORMAT = 1
LARGEST = 4 * MIB
HINT = "Train it again with `worldtune idm train`."


class IdmCard(StrictModel):
    """Everything about an IDM except its weights.

    `action_size` is the length of a row of `action`, `state_names` name the states ("" if unknown; empty without
    states). `cameras` and `tasks` are those of the training clips. `sigma_ratio` is σ of a state that is read from one
    frame over σ of a displacement. `gain` is, for each number of a command, the displacement of its state per unit, 0
    if it has none. `held_out` are the figures of `evaluate_idm`, None if no clips were held out.
    """

    format: int = FORMAT
    name: str
    base: str
    base_digest: str
    codec_digest: str
    action_space: ActionSpace
    action_size: Count
    action_holds: str
    state_names: tuple[str, ...]
    cameras: tuple[str, ...]
    tasks: tuple[str, ...]
    frames: Frames
    fps: Fps
    height: PixelSize
    width: PixelSize
    fit: Literal["stretch", "cover", "letterbox"]
    encoder: str
    encoder_digest: str | None
    side: int = Field(ge=16)
    members: Count
    statistics: TargetStatistics
    sigma_ratio: float = Field(gt=0)
    gain: tuple[float, ...]
    held_out: dict[str, Any] | None
    weights_digest: str
    lineage: dict[str, Any]


def describe_actions(space: ActionSpace) -> str:
    """Return what a row of `action` holds in a dataset that an IDM labeled."""
    if space.commands_per_frame == 1:
        return "the command of the frame interval, read from video"
    return (
        f"the mean command of the frame interval, read from video, repeated for each of its "
        f"{space.commands_per_frame} commands"
    )


def write_idm_card(folder: Path, card: IdmCard) -> None:
    """Write the card into `folder`, with the digest of its fields."""
    fields = card.model_dump(mode="json")
    write_json(folder / CARD, fields | {"digest": digest_json(fields)})


def read_idm_card(folder: Path) -> tuple[IdmCard, str]:
    """Return the card of `folder` and the digest of its bytes.

    Raise DataError if it is missing, invalid, or its fields do not have its digest.
    """
    path = folder / CARD
    if not path.is_file():
        raise DataError(
            f"there is no {CARD}", where=str(folder), hint="Give a folder that `worldtune idm train` wrote."
        )
    content = read_bytes(path, LARGEST, DataError, HINT)
    data = parse_json(content, str(path), error=DataError, hint=HINT)
    fields = {key: value for key, value in data.items() if key != "digest"} if isinstance(data, dict) else data
    try:
        card = parse_model(IdmCard, fields, str(path))
    except RecipeError as error:
        raise DataError(error.what, where=error.where, hint=HINT) from error
    if card.format != FORMAT:
        raise DataError(f"{CARD} is of format {card.format}; this worldtune reads {FORMAT}", where=str(path), hint=HINT)
    if data.get("digest") != digest_json(fields):
        raise DataError(f"{CARD} was changed: its fields do not match its digest", where=str(path), hint=HINT)
    return card, digest_bytes(content)
