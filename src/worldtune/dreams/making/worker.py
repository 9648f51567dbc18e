"""Make dreams with one open base: sample, write the video, label it, and let the critics judge it.

Shapes: T frames, H×W pixels, C colors.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from worldtune.core.files import atomic_file, digest_file
from worldtune.data.video.decode import read_frames, write_video
from worldtune.dreams.critics.chain import Chain, Verdict, measure
from worldtune.dreams.idm.labels_file import write_labels
from worldtune.dreams.labeler import Labeler
from worldtune.dreams.ledger import DreamRow
from worldtune.dreams.making.plan import Batch, Dream
from worldtune.dreams.making.sample import SamplingSettings, Texts, loaded, sample_batch
from worldtune.evaluation.cases.case import Frames, Video
from worldtune.evaluation.metrics.video_features import VideoFeatures
from worldtune.models.world import World

VIDEOS, LABELS = "videos", "labels"


@dataclass(frozen=True, eq=False)
class DreamWorker:
    """What makes dreams into the folder `out`. `chain` is None without critics."""

    world: World
    labeler: Labeler
    chain: Chain | None
    critics: Mapping[str, str]
    texts: Texts
    settings: SamplingSettings
    out: Path

    def make(self, batches: Sequence[Batch]) -> Iterator[DreamRow]:
        """Make the batches' missing dreams, and yield the row of each once its files are written.

        Raise AdapterError if an adapter does not fit the base, DataError if a video is not finite.
        """
        for _, group in groupby(batches, key=lambda batch: batch.model):
            model_batches = list(group)
            with loaded(self.world, model_batches[0].model):
                for batch in model_batches:
                    yield from self._make_batch(batch)

    def _make_batch(self, batch: Batch) -> Iterator[DreamRow]:
        started = time.perf_counter()
        videos = sample_batch(self.world, batch.dreams, self.texts, self.settings)
        sampling = (time.perf_counter() - started) / len(batch.dreams)
        for dream, frames_THWC in zip(batch.dreams, videos, strict=True):
            if dream.name not in batch.missing:
                continue
            started = time.perf_counter()
            video = self.out / VIDEOS / f"{dream.name}.mp4"
            with atomic_file(video) as partial:
                write_video(partial, frames_THWC, self.settings.size.fps)
            labels_file = self.out / LABELS / f"{dream.name}.npz"
            verdict = self._label_and_judge(dream, video, labels_file)
            seconds = sampling + time.perf_counter() - started
            yield self._row(dream, verdict, seconds, digest_file(video), digest_file(labels_file))

    def _label_and_judge(self, dream: Dream, video: Path, labels_file: Path) -> Verdict:
        """Label the frames as they are stored: policies and critics see those."""
        stored_THWC = read_video(video)
        labels = self.labeler.label(stored_THWC, dream.first_frame.state_S)
        write_labels(labels_file, labels)
        if self.chain is None:
            return Verdict({}, {})
        features = VideoFeatures(Video(lambda: stored_THWC, dream.name, f"dream {dream.name}"))
        return self.chain.judge(measure(features, labels, self.chain.critics))

    def _row(self, dream: Dream, verdict: Verdict, seconds: float, video: str, labels: str) -> DreamRow:
        frame = dream.first_frame
        return DreamRow(
            name=dream.name, source=frame.source, episode=frame.episode, camera=frame.camera, frame=frame.digest,
            task=dream.task, prompt=dream.prompt, outcome=dream.outcome, seed=dream.seed, adapter=dream.model.card,
            adapter_name=dream.model.name, release=dream.model.release, base=self.world.card.digest,
            idm=self.labeler.digest, video=video, labels=labels, critics=dict(self.critics), values=verdict.values,
            kept=not verdict.reason, reason=verdict.reason, seconds=round(seconds, 3),
        )  # fmt: skip


def read_video(path: Path) -> Frames:
    """Return the frames (T, H, W, C) of a dream's video. Raise DataError if it cannot be decoded."""
    return np.stack(list(read_frames(path)))
