"""Check that an inverse dynamics model reads the videos of this base and the robot of this data."""

from collections.abc import Sequence

from worldtune.core.actions.space import ActionSpace
from worldtune.data.dataset import Dataset
from worldtune.data.spec import DataSpec
from worldtune.dreams.labeler import Labeler, LabelerCard
from worldtune.dreams.making.first_frames import FirstFrame
from worldtune.dreams.making.plan import DreamSize
from worldtune.errors import DataError
from worldtune.models.world import World

TRAIN_HINT = "Train an inverse dynamics model for them: worldtune idm train."


def check_reads_videos(labeler: Labeler, world: World, size: DreamSize) -> None:
    """Raise DataError unless the model was trained on videos of the base's codec, size and frame rate."""
    card = labeler.card
    if card.codec_digest != world.card.codec_digest:
        what = f"the inverse dynamics model was trained on videos of {card.base}, which has another codec"
        raise DataError(what, where=card.name, hint=f"Train one on videos of {world.card.name}: worldtune idm train.")
    found = f"{card.height}×{card.width} pixels at {card.fps:g} fps"
    if found != (expected := f"{size.height}×{size.width} pixels at {size.fps:g} fps"):
        what = f"the inverse dynamics model reads videos of {found}, the dreams have {expected}"
        raise DataError(what, where=card.name, hint=TRAIN_HINT)


def check_reads_robot(labeler: Labeler, dataset: Dataset, spec: DataSpec) -> None:
    """Raise DataError unless the model reads the dataset's states and writes its actions, in the declared space."""
    card, where, space = labeler.card, spec.path, spec.action_space
    if space is not None and space != card.action_space:
        what = f"the dataset's actions are {_space(space)}, those of {card.name} are {_space(card.action_space)}"
        raise DataError(
            what, where=where, hint="Correct data.action_space, or train another model: worldtune idm train."
        )
    with_states = any(clip.states is not None for clip in dataset.clips)
    names = tuple(dataset.state_names)
    if with_states and names and any(card.state_names) and names != card.state_names:
        what = (
            f"no inverse dynamics model for the states {_listed(names)}; {card.name} reads {_listed(card.state_names)}"
        )
        raise DataError(what, where=where, hint=TRAIN_HINT)
    _check_sizes(card, dataset, where)


def _check_sizes(card: LabelerCard, dataset: Dataset, where: str) -> None:
    for clip in dataset.clips:
        for name, rows, size in (
            ("state", clip.states, len(card.state_names)),
            ("action", clip.actions, card.action_size),
        ):
            if rows is not None and rows.shape[1] != size:
                what = f"an {name} of the dataset has {rows.shape[1]} numbers, one of {card.name} has {size}"
                raise DataError(what.replace("an state", "a state"), where=where, hint=TRAIN_HINT)


def check_reads_cameras(labeler: Labeler, frames: Sequence[FirstFrame]) -> None:
    """Raise DataError for first frames of a camera that the model was not trained on; images have no camera."""
    for frame in frames:
        if frame.camera and frame.camera not in labeler.card.cameras:
            what = f"no inverse dynamics model for the camera {frame.camera}; it was trained on "
            raise DataError(what + _listed(labeler.card.cameras), where=frame.source, hint=TRAIN_HINT)


def _space(space: ActionSpace) -> str:
    columns = "" if space.state_columns is None else f" of the states {list(space.state_columns)}"
    return f"{space.kind}, {space.commands_per_frame} a frame{columns}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
