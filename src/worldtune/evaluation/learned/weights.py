"""Weights of vision models that the user has. Models load from a folder as transformers classes, without remote code.

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

from worldtune.core.files import digest_file, digest_json
from worldtune.core.pretrained import SAFE_LOADING
from worldtune.core.settings import parse_model
from worldtune.core.strict_io import read_json
from worldtune.errors import UserError, did_you_mean, first_line
from worldtune.evaluation.cases.case import Frames

KINDS = {
    "lpips": "AlexNet of torchvision and LPIPS's linear layers for it",
    "dino": "a DINOv2 model of transformers",
    "clip": "a CLIP model of transformers",
    "videomae": "a VideoMAE model of transformers",
}
BATCH_SIZE = 16  # pictures at once
MAX_SIDE = 4096  # pixels of a picture's side
_PositiveFloat = Annotated[FiniteFloat, Field(gt=0)]


@dataclass(frozen=True)
class Weights:
    """A folder of weights of one of the `KINDS`; `digest` covers every file in it."""

    kind: str
    folder: Path
    digest: str


def parse_weights(entries: Sequence[str]) -> dict[str, Weights]:
    """Return the weights of each `KIND=FOLDER` by kind.

    Raise UserError if a kind is unknown or given twice, or a folder has no files.
    """
    found: dict[str, Weights] = {}
    for entry in entries:
        kind, equals, path = entry.partition("=")
        folder = Path(path).expanduser()
        if kind not in KINDS or not equals:
            hint = did_you_mean(kind, KINDS, f"Use one of: {', '.join(f'{name}=FOLDER' for name in KINDS)}.")
            raise UserError("weights must be KIND=FOLDER", where=entry, hint=hint)
        if kind in found:
            raise UserError(f"weights of {kind} are given twice", where=entry, hint="Give one folder.")
        files = sorted(file for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else []
        if not files:
            raise UserError(f"no weights of {kind} found", where=entry, hint=f"Specify a folder with {KINDS[kind]}.")
        digest = digest_json({str(file.relative_to(folder)): digest_file(file) for file in files})
        found[kind] = Weights(kind, folder, digest)
    return found


class FeatureExtractor:
    """A transformers model and its preprocessing: frames are stretched to its size and normalized by its colors."""

    def __init__(self, weights: Weights, device: str) -> None:
        from safetensors import SafetensorError
        from transformers import AutoModel

        self.weights, self._device = weights, device
        hint = f"Specify a folder with {KINDS[weights.kind]}, as from_pretrained reads it."
        self.side, colors = _read_preprocessor(weights.folder / "preprocessor_config.json", hint)
        try:
            model = AutoModel.from_pretrained(
                str(weights.folder), local_files_only=True, use_safetensors=True, **SAFE_LOADING
            )
        except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError) as error:
            what = f"the {weights.kind} model cannot be loaded: {first_line(error)}"
            raise UserError(what, where=str(weights.folder), hint=hint) from error
        self.model: Any = model.to(device).eval()
        self._mean, self._spread = (torch.tensor(entry).view(1, 3, 1, 1) for entry in colors)

    def preprocess(self, frames_THWC: Frames) -> Tensor:
        """Return pixel_values (T, C, side, side)."""
        x_TCHW = torch.from_numpy(np.ascontiguousarray(frames_THWC)).permute(0, 3, 1, 2).float() / 255
        x_TCHW = F.interpolate(x_TCHW, size=(self.side, self.side), mode="bicubic", antialias=True).clamp(0, 1)
        return ((x_TCHW - self._mean) / self._spread).to(self._device)

    @torch.inference_mode()
    def frame_features(self, frames_THWC: Frames) -> np.ndarray:
        """Return features (T, D) of each frame, normalized to length 1."""
        x_TCHW = self.preprocess(frames_THWC)
        parts = [self._embed(x_TCHW[first : first + BATCH_SIZE]) for first in range(0, len(x_TCHW), BATCH_SIZE)]
        return np.asarray(F.normalize(torch.cat(parts).float(), dim=-1).cpu().numpy())

    @torch.inference_mode()
    def video_features(self, frames_THWC: Frames) -> np.ndarray:
        """Return features (D,) of a video: the mean over patches of the model's number of evenly spaced frames."""
        count = int(self.model.config.num_frames)
        indices = np.linspace(0, len(frames_THWC) - 1, count).round().astype(int)
        output = self.model(pixel_values=self.preprocess(frames_THWC[indices])[None])
        return np.asarray(output.last_hidden_state[0].float().mean(0).cpu().numpy())

    def _embed(self, x_TCHW: Tensor) -> Tensor:
        if self.weights.kind == "clip":
            output = self.model.get_image_features(pixel_values=x_TCHW)
            return output if isinstance(output, Tensor) else output.pooler_output
        return self.model(pixel_values=x_TCHW).last_hidden_state[:, 0]


class _Size(BaseModel):
    """A size in pixels: of both sides, or of the shorter side."""

    height: int | None = Field(None, ge=1, le=MAX_SIDE)
    shortest_edge: int | None = Field(None, ge=1, le=MAX_SIDE)


class _PreprocessorConfig(BaseModel):
    """The fields of preprocessor_config.json that `FeatureExtractor` uses."""

    crop_size: _Size | Annotated[int, Field(ge=1, le=MAX_SIDE)] | None = None
    size: _Size | Annotated[int, Field(ge=1, le=MAX_SIDE)] | None = None
    image_mean: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    image_std: tuple[_PositiveFloat, _PositiveFloat, _PositiveFloat]


def _read_preprocessor(path: Path, hint: str) -> tuple[int, list[tuple[float, ...]]]:
    """Return the side of a model's input in pixels, and the mean and standard deviation of its colors."""
    config = parse_model(_PreprocessorConfig, read_json(path, error=UserError, hint=hint), str(path))
    size = config.crop_size or config.size
    side = size if isinstance(size, int) else size and (size.height or size.shortest_edge)
    if not side:
        raise UserError("the file has no input size", where=str(path), hint=hint)
    return side, [config.image_mean, config.image_std]
