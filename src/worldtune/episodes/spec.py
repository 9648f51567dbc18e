"""What to take from a source, as a recipe says it."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from worldtune.core.ranges import Fps, Frames, Side
from worldtune.episodes.augment import Augment
from worldtune.episodes.captions import fields_of
from worldtune.episodes.curation import Curate
from worldtune.episodes.tiles import Layout, cameras_of
from worldtune.episodes.video import Fit
from worldtune.strict import Strict


class DataSpec(Strict):
    """What to take from a source.

    path: a folder, a file, `hf:OWNER/NAME@REVISION` or `builtin:NAME`. cameras: all when None. tile: rows of cameras
    that make one picture ("" is a black cell), instead of a clip for each. frames, fps, height, width: of a clip;
    fit: how pictures are brought to that size. recorded_fps: the source's rate, where it states none.

    retime: the nearest frame to each target time, or `exact`: only where every target time is a frame's. windows: a
    grid whose `stride` counts target frames (None: `frames`, so that windows do not overlap), `draws` random ones of
    each recording, or the whole episode stretched to `frames`.

    caption: a template with the fields task, camera, caption, robot, viewpoint. captions: a file of captions by
    recording, as `worldtune caption` writes it. viewpoints: what to call each camera. robot: its name, in place of
    the source's. tasks: exact task texts to keep.

    held_out: share of the episodes, or of the sessions by split_by. held_out_tasks, held_out_cameras: sets of their
    own, never trained on. max_loss: share of the recordings that may give no clip before the dataset is refused.
    """

    path: str
    cameras: list[str] | None = None
    tile: Layout | None = None
    frames: Frames
    fps: Fps
    height: Side
    width: Side
    fit: Fit = "stretch"
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
    held_out: float = Field(0.0, ge=0, lt=1)
    split_by: Literal["episode", "session"] = "episode"
    held_out_tasks: list[str] = Field(default_factory=list)
    held_out_cameras: list[str] = Field(default_factory=list)
    curate: Curate = Field(default_factory=Curate)
    augment: Augment = Field(default_factory=Augment)
    max_loss: float = Field(0.05, ge=0, le=1)
    seed: int = 0

    @field_validator("caption")
    @classmethod
    def _known_fields(cls, template: str) -> str:
        fields_of(template)
        return template

    @model_validator(mode="after")
    def _tile_is_a_grid(self) -> "DataSpec":
        if self.tile is None:
            return self
        shown = cameras_of(self.tile)
        if self.cameras is not None:
            raise ValueError("tile names its cameras: leave cameras out")
        if not shown or len({len(row) for row in self.tile}) > 1 or len(set(shown)) < len(shown):
            raise ValueError("tile is rows of equally many cameras, each camera once")
        if self.height % len(self.tile) or self.width % len(self.tile[0]):
            raise ValueError(f"{self.height}×{self.width} pixels do not divide by the {len(self.tile)} rows of tile")
        return self

    @model_validator(mode="after")
    def _windows_have_their_own_numbers(self) -> "DataSpec":
        if self.stride is not None and self.windows != "grid":
            raise ValueError(f"stride is of windows=grid, not of windows={self.windows}")
        if (self.draws is None) == (self.windows == "random"):
            raise ValueError("windows=random needs draws, the number of windows a recording; the others have none")
        if self.retime == "exact" and self.windows == "whole":
            raise ValueError("windows=whole stretches time: it cannot be retime=exact")
        return self

    @model_validator(mode="after")
    def _held_out_tasks_are_taken(self) -> "DataSpec":
        if self.tasks is not None and (left_out := [task for task in self.held_out_tasks if task not in self.tasks]):
            raise ValueError(f"held_out_tasks has {left_out[0]!r}, which tasks leaves out")
        return self

    @property
    def holds_out(self) -> bool:
        """Is anything held out?"""
        return bool(self.held_out or self.held_out_tasks or self.held_out_cameras)

    @property
    def asked_cameras(self) -> list[str] | None:
        """The cameras to read, None for all."""
        return self.cameras if self.tile is None else cameras_of(self.tile)
