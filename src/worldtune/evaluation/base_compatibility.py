"""How well a base fits a dataset, checked before training: captions that are too long, and the codec's loss.

Only the tokenizer and the VAE are loaded. Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from worldtune.data.clip import Clip, read_clip
from worldtune.data.dataset import Dataset
from worldtune.data.faults import Fault
from worldtune.evaluation.cases.case import Frames
from worldtune.evaluation.metrics.fidelity import psnr_from_mse
from worldtune.latents.encode import LONG_CAPTIONS_HINT, describe_long_captions, find_long_captions
from worldtune.models.load import check_layout, open_prompt_encoder
from worldtune.models.vae.codec import Codec, open_codec
from worldtune.models.vae.shapes import TEMPORAL

CODEC_FRAMES = 1 + TEMPORAL
"""Frames of a clip that go through the codec: the first, and those of the second latent frame."""
CROP_SIDE = 512
"""Largest side in pixels of the center crop that goes through the codec: its loss depends on detail, not on size."""
CODEC_MARGIN_DB = 3.0
"""The loss is reported if it exceeds that on the base's own domain by this much (twice the squared error)."""
RETENTION = "retention"
"""The name in a recipe of the dataset from the base's own domain."""


@dataclass(frozen=True)
class BaseCompatibility:
    """How well a base fits a dataset.

    `too_long` maps episodes to the token count of captions longer than the base's limit `length`. `codec_psnr_db` is
    the PSNR of a clip through the VAE and back; None if the dataset has no clips.
    """

    too_long: dict[str, int]
    length: int
    codec_psnr_db: float | None

    @property
    def faults(self) -> list[Fault]:
        """The reasons not to train on this dataset with this base."""
        if not self.too_long:
            return []
        return [Fault(describe_long_captions(self.too_long, self.length), LONG_CAPTIONS_HINT)]


def inspect_datasets(folder: Path, datasets: Mapping[str, Dataset]) -> dict[str, BaseCompatibility]:
    """Return how well the base in `folder` fits each dataset, by name.

    Raise BaseError if the folder is not a base, DataError if a clip cannot be read.
    """
    check_layout(folder, str(folder))
    encoder, codec = open_prompt_encoder(folder), open_codec(folder, torch.device("cpu"), torch.float32)
    return {
        name: BaseCompatibility(
            find_long_captions(encoder, [*dataset.clips, *dataset.new_task, *dataset.new_camera]),
            encoder.length,
            measure_codec_psnr(codec, dataset.clips[0]) if dataset.clips else None,
        )
        for name, dataset in datasets.items()
    }


def measure_codec_psnr(codec: Codec, clip: Clip) -> float:
    """Return the PSNR in dB of a clip's first frames through the codec and back. Raise DataError on a bad file."""
    indices = clip.frame_indices[:CODEC_FRAMES] if len(clip.frame_indices) >= CODEC_FRAMES else clip.frame_indices[:1]
    frames_THWC = _crop_center(read_clip(replace(clip, frame_indices=indices)))
    decoded_THWC = codec.decode(codec.encode(torch.from_numpy(frames_THWC)[None]))[0].cpu().numpy()
    return psnr_from_mse(float(np.square(decoded_THWC.astype(np.float32) - frames_THWC).mean(dtype=np.float64)))


def describe_codec_loss(compatible: Mapping[str, BaseCompatibility]) -> dict[str, list[str]]:
    """Return sentences on the codec's loss by dataset, with the loss on the base's own domain if that is known."""
    sentences: dict[str, list[str]] = {}
    own_domain_db = compatible[RETENTION].codec_psnr_db if RETENTION in compatible else None
    for name, fit in compatible.items():
        if fit.codec_psnr_db is None or name == RETENTION:
            continue
        comparison = "" if own_domain_db is None else f" (a clip of the base's own domain: {own_domain_db:.1f} dB)"
        sentences[name] = [
            "After a round trip through the base's codec, a clip has a PSNR of "
            f"{fit.codec_psnr_db:.1f} dB{comparison}. "
            "Videos generated with this codec cannot be closer to the real one."
        ]
        if own_domain_db is not None and fit.codec_psnr_db < own_domain_db - CODEC_MARGIN_DB:
            sentences[name].append("The codec loses detail of these images that no adapter can restore.")
    return sentences


def _crop_center(frames_THWC: Frames) -> Frames:
    H, W = frames_THWC.shape[1:3]
    height, width = (min(side, CROP_SIDE) for side in (H, W))
    top, left = (H - height) // 2, (W - width) // 2
    return np.ascontiguousarray(frames_THWC[:, top : top + height, left : left + width])
