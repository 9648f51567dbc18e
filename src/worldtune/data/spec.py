"""The `data` section of a recipe: what to take from a source."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from worldtune.core.actions.space import ActionSpace
from worldtune.core.ranges import Fps, Frames, PixelSize
from worldtune.core.settings import StrictModel
from worldtune.data.augment import AugmentationSpec
from worldtune.data.camera_grid import Layout, grid_cameras
from worldtune.data.captioning.captions import template_fields
from worldtune.data.columns import Columns
from worldtune.data.curation.curate import CurationSpec
from worldtune.data.flips import Flip
from worldtune.data.video.decode import Fit


def _as_list(names: object) -> object:
    return [names] if isinstance(names, str) else names


Names = Annotated[list[str], Field(min_length=1), BeforeValidator(_as_list)]


class DataSpec(StrictModel):
    """What to take from a source.

    path: a folder, a file, `hf:OWNER/NAME@REVISION` or `builtin:NAME`. cameras: all if None. tile: rows of cameras
    that make one image ("" is a black cell), instead of a clip of each. frames, fps, height, width: of a clip.
    fit: how images are brought to that size. flip: turn the images over first, for datasets that are stored upside
    down. recorded_fps: the source's rate, if the source does not state it.

    retime: "nearest" takes the frame nearest to each target time; "exact" requires a frame at every target time.
    windows: a grid whose `stride` counts target frames (None: `frames`, so windows do not overlap), `draws` random
    windows of each recording, or the whole episode stretched to `frames`.

    caption: a template with the fields task, camera, caption, robot, viewpoint. captions: a file of captions by
    recording, as `worldtune caption` writes it. viewpoints: a name for each camera. robot: its name, instead of the
    source's. tasks: the exact task texts to use.

    state, action: the columns of a LeRobot dataset that make up states and actions, one or a list; None: LeRobot's own,
    observation.state and action.

    action_space: what the numbers of `action` mean; a model that is conditioned on actions needs it.

    held_out: the share of the episodes (or sessions, by split_by) to hold out; split_by=predefined uses the source's
    split. held_out_tasks, held_out_cameras: separate sets, never trained on. not_copies: pairs of episodes, by name,
    that a person declared to be different demonstrations although they look like copies. max_skipped: the largest
    share of the recordings that may give no clip.
    """

    path: str
    cameras: list[str] | None = None
    tile: Layout | None = None
    frames: Frames
    fps: Fps
    height: PixelSize
    width: PixelSize
    fit: Fit = "stretch"
    flip: Flip | None = None
    recorded_fps: Fps | None = None
    retime: Literal["nearest", "exact"] = "nearest"
    windows: Literal["grid", "random", "whole"] = "grid"
    stride: int | None = Field(None, ge=1)
    draws: int | None = Field(None, ge=1)
    caption: str = "{caption}"
    captions: str | None = None
    viewpoints: dict[str, str] = Field(default_factory=dict)
    robot: str | None = None
    tasks: list[str] | None = None
    state: Names | None = None
    action: Names | None = None
    action_space: ActionSpace | None = None
    held_out: float = Field(0.0, ge=0, lt=1)
    split_by: Literal["episode", "session", "predefined"] = "episode"
    held_out_tasks: list[str] = Field(default_factory=list)
    held_out_cameras: list[str] = Field(default_factory=list)
    curate: CurationSpec = Field(default_factory=CurationSpec)
    augment: AugmentationSpec = Field(default_factory=AugmentationSpec)
    not_copies: list[tuple[str, str]] = Field(default_factory=list)
    max_skipped: float = Field(0.05, ge=0, le=1)
    seed: int = 0

    @field_validator("caption")
    @classmethod
    def _check_caption_fields(cls, template: str) -> str:
        template_fields(template)
        return template

    @field_validator("not_copies")
    @classmethod
    def _sort_pairs(cls, pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the pairs in one order, so that the same decisions have the same digest."""
        if same := next((first for first, second in pairs if first == second), None):
            raise ValueError(f"not_copies pairs '{same}' with itself")
        return sorted({(min(pair), max(pair)) for pair in pairs})

    @model_validator(mode="after")
    def _check_tile(self) -> "DataSpec":
        if self.tile is None:
            return self
        tiled = grid_cameras(self.tile)
        if self.cameras is not None:
            raise ValueError("tile names its cameras: remove cameras")
        if not tiled or len({len(row) for row in self.tile}) > 1 or len(set(tiled)) < len(tiled):
            raise ValueError("tile must be rows of equally many cameras, each camera once")
        if self.height % len(self.tile) or self.width % len(self.tile[0]):
            raise ValueError(
                f"{self.height}×{self.width} pixels are not divisible by the {len(self.tile)} rows of tile"
            )
        return self

    @model_validator(mode="after")
    def _check_windows(self) -> "DataSpec":
        if self.stride is not None and self.windows != "grid":
            raise ValueError(f"stride belongs to windows=grid, not to windows={self.windows}")
        if (self.draws is None) == (self.windows == "random"):
            raise ValueError("windows=random needs draws, the number of windows per recording; other windows take none")
        if self.retime == "exact" and self.windows == "whole":
            raise ValueError("windows=whole stretches time, so it cannot be combined with retime=exact")
        return self

    @model_validator(mode="after")
    def _check_held_out_tasks(self) -> "DataSpec":
        if self.tasks is not None and (left_out := [task for task in self.held_out_tasks if task not in self.tasks]):
            raise ValueError(f"held_out_tasks has {left_out[0]!r}, which is not in tasks")
        return self

    @model_validator(mode="after")
    def _check_split(self) -> "DataSpec":
        if self.split_by == "predefined" and self.held_out:
            raise ValueError("split_by=predefined holds out what the source states: remove held_out")
        return self

    @property
    def columns(self) -> Columns:
        """The columns that are states and actions."""
        state, action = (None if names is None else tuple(names) for names in (self.state, self.action))
        return Columns(state, action)

    @property
    def holds_out(self) -> bool:
        """Whether anything is held out."""
        return bool(self.held_out or self.split_by == "predefined" or self.held_out_tasks or self.held_out_cameras)

    @property
    def can_be_evaluated(self) -> bool:
        """Whether clips of the trained tasks and cameras are held out; an evaluation needs them."""
        return self.held_out > 0 or self.split_by == "predefined"

    @property
    def requested_cameras(self) -> list[str] | None:
        """The cameras to read, None for all."""
        return self.cameras if self.tile is None else grid_cameras(self.tile)
