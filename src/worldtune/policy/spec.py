"""The settings of a policy that is trained by behavior cloning."""

from typing import Literal

from pydantic import Field, model_validator

from worldtune.core.settings import StrictModel


class PolicySpec(StrictModel):
    """Settings of a policy's training and execution.

    output: what the network predicts for each interval of its chunk, and `gain` of the P controller: see `Control`.
    chunk, executed: frame intervals that are predicted, and those that are executed before it predicts again.
    position_columns: the columns of a state that are the hand's position in meters; the network reads no others.
    gripper_column: the number of the mean command that is the gripper's; None without a gripper.
    synthetic_share: the share of a batch that is synthetic, if there are synthetic episodes.
    idle_threshold: frames after the last step of this share of an episode's largest step are cut; 0 cuts none.
    """

    output: Literal["displacement", "command"] = "displacement"
    gain: float = Field(40.0, gt=0)
    chunk: int = Field(2, ge=1, le=16)
    executed: int = Field(1, ge=1)
    position_columns: tuple[int, ...] = Field((0, 1, 2), min_length=1)
    gripper_column: int | None = 3
    steps: int = Field(1200, ge=1)
    batch_size: int = Field(32, ge=2)
    learning_rate: float = Field(1e-3, gt=0)
    synthetic_share: float = Field(0.5, gt=0, lt=1)
    idle_threshold: float = Field(0.35, ge=0, lt=1)
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check_executed(self) -> "PolicySpec":
        if self.executed > self.chunk:
            raise ValueError(f"executed is {self.executed}, but a chunk has {self.chunk} intervals")
        return self
