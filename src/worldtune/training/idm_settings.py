"""The `idm` section of a recipe: how to train inverse dynamics on the recipe's dataset."""

from pydantic import Field

from worldtune.core.settings import StrictModel


class IdmSettings(StrictModel):
    """How to train the ensemble: each of `members` networks takes `steps` steps with `batch` pairs of frames.

    encoder: "small" trains convolutions from scratch; else the folder of a vision transformer, whose weights stay
    frozen. side: frames are resized to side×side pixels first. codec_share: the share of the pairs that passed through
    the base's video codec, because generated videos are decoded by it.
    """

    encoder: str = "small"
    side: int = Field(64, ge=16)
    members: int = Field(3, ge=2)
    steps: int = Field(900, ge=1)
    batch: int = Field(32, ge=1)
    lr: float = Field(3e-3, gt=0)
    codec_share: float = Field(0.5, ge=0, le=1)
    seed: int = Field(0, ge=0, lt=2**32)
