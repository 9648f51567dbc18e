"""A dataset: the clips of a source, split by episode, with a ledger of all that was and was not used."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from pydantic import Field, field_validator

from worldtune.episodes.captions import caption_of, fields_of
from worldtune.episodes.clip import Clip
from worldtune.episodes.episode import Episode, Lost, Problem
from worldtune.episodes.ledger import UNASKED, Ledger, Row
from worldtune.episodes.sources import Advance, Source, choose_cameras, open_source, read_all
from worldtune.episodes.split import held_out_episodes
from worldtune.episodes.video import Fit
from worldtune.episodes.windows import cut, retime
from worldtune.errors import DataError
from worldtune.files import digest_file, digest_json
from worldtune.strict import Strict


class DataSpec(Strict):
    """What to take from a source.

    path: a folder or `builtin:NAME`. cameras: all when None. frames, fps, height, width: of a clip;
    fit: how pictures are brought to that size. stride: target frames from one window to the next
    (None: `frames`, so that windows do not overlap). caption: a template with the fields task,
    camera, caption. tasks: exact task texts to keep. held_out: share of the episodes.
    max_loss: share of the recordings that may give no clip before the dataset is refused.
    """

    path: str
    cameras: list[str] | None = None
    frames: int = Field(ge=1)
    fps: float = Field(gt=0)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    fit: Fit = "stretch"
    stride: int | None = Field(None, ge=1)
    caption: str = "{caption}"
    tasks: list[str] | None = None
    held_out: float = Field(0.0, ge=0, lt=1)
    max_loss: float = Field(0.05, ge=0, le=1)
    seed: int = 0

    @field_validator("caption")
    @classmethod
    def _known_fields(cls, template: str) -> str:
        fields_of(template)
        return template


@dataclass(frozen=True)
class Dataset:
    """Clips for training and held out, the ledger, and a digest of what the clips are made of.

    `problems` are the source's contradictions; `faults` say why it must not be trained on as it is.
    """

    train: list[Clip]
    held_out: list[Clip]
    ledger: Ledger
    digest: str
    problems: list[Problem]
    faults: list[str]

    @property
    def clips(self) -> list[Clip]:
        """Those for training, then those held out."""
        return self.train + self.held_out


def open_dataset(spec: DataSpec) -> Dataset:
    """The dataset that `spec` describes.

    A clip that cannot be used is a ledger row with its reason. Raises DataError when the source cannot be read
    or has a fault: nothing is left for training, nothing is held out though held_out > 0, more than max_loss of
    its recordings give no clip, or its frames, states and actions cannot belong together.
    """
    dataset = take_stock(spec)
    if dataset.faults:
        mend = "`worldtune check` says which: mend them, choose by cameras and tasks, or raise max_loss."
        if not dataset.clips:
            reasons = "; ".join(f"{count}: {reason}" for reason, count in dataset.ledger.reasons().items())
            mend = f"Not used: {reasons}." if reasons else "The source has no recordings."
        raise DataError(dataset.faults[0], where=spec.path, mend=mend)
    return dataset


def take_stock(spec: DataSpec, advance: Advance = lambda done, total: None) -> Dataset:
    """As `open_dataset`, but a dataset with faults is returned, for its ledger."""
    source = open_source(spec.path)
    cameras = choose_cameras(source, spec.cameras)
    _refuse_unknown_tasks(spec, source)
    cuts = [pair for recording in read_all(source, cameras, advance) for pair in _cut(recording, spec)]
    task_of = {clip.episode: clip.task for _, clip in cuts if clip is not None}
    held = held_out_episodes(task_of, spec.held_out, spec.seed)
    clips = [clip for _, clip in cuts if clip is not None]
    rows = [replace(row, split="held_out" if row.episode in held else "train") if row.kept else row for row, _ in cuts]
    train = [clip for clip in clips if clip.episode not in held]
    held_out = [clip for clip in clips if clip.episode in held]
    ledger, problems = Ledger(tuple(rows)), source.problems()
    faults = find_faults(spec, source, ledger, problems)
    return Dataset(train, held_out, ledger, _digest(spec, train, held_out), problems, faults)


def find_faults(spec: DataSpec, source: Source, ledger: Ledger, problems: list[Problem]) -> list[str]:
    """Why a dataset must not be trained on as it is, gravest first."""
    cameras = source.cameras if spec.cameras is None else spec.cameras
    kept = [row for row in ledger.rows if row.kept]
    recordings, faults = ledger.recordings(), []
    episodes = f"held_out is {spec.held_out:g} of {len({row.episode for row in kept})} usable episode(s)"
    if not kept:
        faults.append("no clip can be used")
    elif all(row.split == "held_out" for row in kept):
        faults.append(f"nothing is left for training: {episodes}")
    elif spec.held_out > 0 and all(row.split == "train" for row in kept):
        faults.append(f"the held-out set is empty: {episodes}")
    if ledger.share_lost() > spec.max_loss:
        lost = sum(not some for some in recordings.values())
        share = f"{ledger.share_lost():.0%}, allowed are {spec.max_loss:.0%}"
        faults.append(f"{lost} of {len(recordings)} recordings give no clip ({share})")
        if not set(cameras) <= set(source.present):
            faults[-1] += f"; cameras with files: {', '.join(source.present)}"
    errors = [problem for problem in problems if problem.level == "error" and problem.camera in ("", *cameras)]
    if errors:
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        faults.append(f"{errors[0].where}: {errors[0].what}{more}")
    return faults


def _refuse_unknown_tasks(spec: DataSpec, source: Source) -> None:
    for task in spec.tasks or []:
        if task not in source.tasks:
            near = get_close_matches(task, source.tasks, n=1)
            mend = f"Did you mean {near[0]!r}?" if near else f"The source has {len(source.tasks)} tasks: see inspect."
            raise DataError(f"no episode has the task {task!r}", where=spec.path, mend=mend)


def _cut(recording: Episode | Lost, spec: DataSpec) -> Iterator[tuple[Row, Clip | None]]:
    """The rows of one recording, each kept one with its clip."""
    row = Row(
        spec.path,
        recording.name,
        recording.camera,
        recording.task,
        recording.caption,
        0,
        recording.frames,
        recording.fps,
        spec.fps,
    )
    if spec.tasks is not None and recording.task not in spec.tasks:
        yield replace(row, reason=UNASKED), None
        return
    if isinstance(recording, Lost):
        yield replace(row, reason=recording.reason), None
        return
    caption = caption_of(spec.caption, task=recording.task, camera=recording.camera, caption=recording.caption)
    if caption is None:
        yield replace(row, reason="caption missing", note=recording.note), None
        return
    yield from _windows(recording, spec, replace(row, caption=caption, note=_note(recording, spec)))


def _note(episode: Episode, spec: DataSpec) -> str:
    if episode.fps == spec.fps:
        return episode.note
    repeats = ", frames repeat" if spec.fps > episode.fps else ""
    retimed = f"retimed from {episode.fps:g} to {spec.fps:g} fps{repeats}"
    return "; ".join(filter(None, [episode.note, retimed]))


def _windows(episode: Episode, spec: DataSpec, row: Row) -> Iterator[tuple[Row, Clip | None]]:
    targets = retime(episode.frames, episode.fps, spec.fps)
    starts, rest = cut(len(targets), spec.frames, spec.stride or spec.frames)
    if len({targets[start] for start in starts}) < len(starts):
        raise DataError(
            f"stride {spec.stride} at {spec.fps:g} fps is finer than the source's {episode.fps:g} fps",
            where=spec.path,
            mend="Take a longer stride: two clips would begin at the same frame.",
        )
    for start in starts:
        picks = tuple(targets[start : start + spec.frames])
        yield replace(row, first_frame=picks[0], frames=len(picks), kept=True), _clip(episode, spec, row, picks)
    if rest is not None:
        count = len(targets) - rest
        reason = f"shorter than the window ({count} of {spec.frames} frames)"
        note = "; ".join(filter(None, [row.note, "what is left at the episode's end" if starts else ""]))
        yield replace(row, first_frame=targets[rest] if targets else 0, frames=count, reason=reason, note=note), None


def _clip(episode: Episode, spec: DataSpec, row: Row, picks: tuple[int, ...]) -> Clip:
    return Clip(
        source=spec.path,
        episode=episode.name,
        camera=episode.camera,
        task=episode.task,
        caption=row.caption,
        video=episode.video,
        video_start=episode.video_start,
        picks=picks,
        fps=spec.fps,
        height=spec.height,
        width=spec.width,
        fit=spec.fit,
    )


def _digest(spec: DataSpec, train: list[Clip], held_out: list[Clip]) -> str:
    """SHA-256 over the spec without its path, each clip's identity and its video's bytes: a copied folder is equal."""
    videos: dict[Path, str] = {}
    for clip in train + held_out:
        if clip.video not in videos:
            videos[clip.video] = digest_file(clip.video)
    identity = [
        [[clip.name, clip.caption, clip.video_start, clip.picks, videos[clip.video]] for clip in clips]
        for clips in (train, held_out)
    ]
    return digest_json([spec.model_dump(mode="json", exclude={"path"}), identity])
