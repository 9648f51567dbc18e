"""Which weights the user has, and models from them: transformers' own classes, from a folder, without anybody's code.

Shapes: T frames, H height, W width, C channels, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, FiniteFloat
from torch import Tensor

from worldtune.core.strict_io import read_json
from worldtune.episodes.describe import SAFE
from worldtune.errors import UserError, did_you_mean, first_line
from worldtune.evaluation.case import Frames
from worldtune.files import digest_file, digest_json
from worldtune.strict import parse

KINDS = {
    "lpips": "AlexNet of torchvision and LPIPS's linear layers for it",
    "dino": "a DINOv2 model of transformers",
    "clip": "a CLIP model of transformers",
    "videomae": "a VideoMAE model of transformers",
}
BATCH = 16  # pictures at once
LARGEST = 4096  # pixels of a picture's side
_Spread = Annotated[FiniteFloat, Field(gt=0)]


@dataclass(frozen=True)
class Weights:
    """A folder of weights of some kind; `digest` covers every file in it."""

    kind: str
    folder: Path
    digest: str


def read_weights(asked: Sequence[str]) -> dict[str, Weights]:
    """Each `KIND=FOLDER` by its kind. Raises UserError for an unknown kind, one named twice, or no folder."""
    found: dict[str, Weights] = {}
    for each in asked:
        kind, equals, path = each.partition("=")
        folder = Path(path).expanduser()
        if kind not in KINDS or not equals:
            mend = did_you_mean(kind, KINDS, f"One of: {', '.join(f'{name}=FOLDER' for name in KINDS)}.")
            raise UserError("weights are KIND=FOLDER", where=each, mend=mend)
        if kind in found:
            raise UserError(f"weights of {kind} are named twice", where=each, mend="Name one.")
        files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
        if not files:
            raise UserError(f"there are no weights of {kind}", where=each, mend=f"Name a folder with {KINDS[kind]}.")
        digest = digest_json({str(file.relative_to(folder)): digest_file(file) for file in files})
        found[kind] = Weights(kind, folder, digest)
    return found


class Seer:
    """A model of transformers and how pictures are made ready for it: stretched to its size, in its colours."""

    def __init__(self, weights: Weights, device: str) -> None:
        from safetensors import SafetensorError
        from transformers import AutoModel

        self.weights, self._device = weights, device
        mend = f"Name a folder with {KINDS[weights.kind]}, as from_pretrained reads it."
        self.side, colours = _preparation(weights.folder / "preprocessor_config.json", mend)
        try:
            model = AutoModel.from_pretrained(str(weights.folder), local_files_only=True, use_safetensors=True, **SAFE)
        except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
            what = f"the {weights.kind} model cannot be loaded: {first_line(error)}"
            raise UserError(what, where=str(weights.folder), mend=mend) from error
        self.model: Any = model.to(device).eval()
        self._mean, self._spread = (torch.tensor(each).view(1, 3, 1, 1) for each in colours)

    def ready(self, frames_THWC: Frames) -> Tensor:
        """pixel_values (T, C, side, side)."""
        x_TCHW = torch.from_numpy(np.ascontiguousarray(frames_THWC)).permute(0, 3, 1, 2).float() / 255
        x_TCHW = F.interpolate(x_TCHW, size=(self.side, self.side), mode="bicubic", antialias=True).clamp(0, 1)
        return ((x_TCHW - self._mean) / self._spread).to(self._device)

    @torch.inference_mode()
    def of_frames(self, frames_THWC: Frames) -> np.ndarray:
        """Features (T, D) of each frame by itself, of length 1."""
        x_TCHW = self.ready(frames_THWC)
        parts = [self._seen(x_TCHW[first : first + BATCH]) for first in range(0, len(x_TCHW), BATCH)]
        return np.asarray(F.normalize(torch.cat(parts).float(), dim=-1).cpu().numpy())

    @torch.inference_mode()
    def of_video(self, frames_THWC: Frames) -> np.ndarray:
        """Features (D,) of a video: the mean over the model's patches, of as many frames as it takes, evenly spaced."""
        count = int(self.model.config.num_frames)
        picks = np.linspace(0, len(frames_THWC) - 1, count).round().astype(int)
        found = self.model(pixel_values=self.ready(frames_THWC[picks])[None])
        return np.asarray(found.last_hidden_state[0].float().mean(0).cpu().numpy())

    def _seen(self, x_TCHW: Tensor) -> Tensor:
        if self.weights.kind == "clip":
            found = self.model.get_image_features(pixel_values=x_TCHW)
            return found if isinstance(found, Tensor) else found.pooler_output
        return self.model(pixel_values=x_TCHW).last_hidden_state[:, 0]


class _Size(BaseModel):
    """Pixels: of a side, or of the shorter one."""

    height: int | None = Field(None, ge=1, le=LARGEST)
    shortest_edge: int | None = Field(None, ge=1, le=LARGEST)


class _Preparation(BaseModel):
    """What preprocessor_config.json says of pictures."""

    crop_size: _Size | Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    size: _Size | Annotated[int, Field(ge=1, le=LARGEST)] | None = None
    image_mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    image_std: tuple[_Spread, _Spread, _Spread]


def _preparation(path: Path, mend: str) -> tuple[int, list[tuple[float, ...]]]:
    """The side of a model's pictures in pixels, and the mean and spread of its colours."""
    found = parse(_Preparation, read_json(path, error=UserError, mend=mend), str(path))
    size = found.crop_size or found.size
    side = size if isinstance(size, int) else size and (size.height or size.shortest_edge)
    if not side:
        raise UserError("it states no size of pictures", where=str(path), mend=mend)
    return side, [found.image_mean, found.image_std]
