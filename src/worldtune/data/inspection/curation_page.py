"""A page that shows a dataset's worst clips of each kind: unused clips by reason, used clips by score.

The page is one HTML file with its images inside. It loads nothing from elsewhere, and every text is escaped.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from worldtune.core.files import atomic_file
from worldtune.data.clip import Clip
from worldtune.data.dataset import Dataset
from worldtune.data.ledger import Row
from worldtune.data.spec import DataSpec
from worldtune.data.splits.leakage import LEAK, SameFootage
from worldtune.data.video.decode import fit_frame

CLIPS_PER_SECTION = 6  # clips of each kind
COLUMNS, HEIGHT = 6, 96
MAX_PAIRS = 60  # pairs of recordings that are shown, leaks first
ShownClip = tuple[Row, Clip]

WORST: dict[str, tuple[str, Callable[[Row], float]]] = {
    "least motion": ("Used, but hardly anything moves: do they show the task?", lambda row: row.motion or 0),
    "longest stills": ("Used, but for much of the clip nothing moves.", lambda row: -(row.still or 0)),
    "least sharp": ("Used, but less sharp than all others.", lambda row: row.sharpness or 0),
    "darkest": ("Used, but darker than all others.", lambda row: row.brightness or 0),
}


@dataclass(frozen=True)
class Strip:
    """A row of frames of one clip."""

    name: str
    description: str
    scores: str
    picture: str
    width: int
    height: int


@dataclass(frozen=True)
class PairStrips:
    """Two recordings at the same moments, one above the other."""

    description: str
    leak: bool
    strips: list[Strip]


@dataclass(frozen=True)
class Section:
    """The clips of one kind; `others` are the names of the clips without images, each with its reason."""

    title: str
    about: str
    anchor: str
    kept: bool
    strips: list[Strip]
    others: list[str]


def write_curation_page(path: Path, spec: DataSpec, dataset: Dataset) -> None:
    """Write the page. Raise DataError if a clip cannot be decoded, UserError if the file cannot be written."""
    templates = files("worldtune.data.inspection") / "templates"
    style = (templates / "curation.css").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(str(templates)), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("curation.html.j2").render(
        source=spec.path,
        size=f"{spec.frames} frames at {spec.fps:g} fps, {spec.height}×{spec.width} pixels, {spec.fit}",
        used=sum(row.kept for row in dataset.ledger.rows),
        unused=sum(not row.kept for row in dataset.ledger.rows),
        faults=dataset.faults,
        reasons=dataset.ledger.reasons().items(),
        pairs=_pairs(dataset),
        more_pairs=[f"{pair.first}, {pair.second}: {pair.outcome}" for pair in _ranked(dataset)[MAX_PAIRS:]],
        sections=_unused_sections(dataset) + _worst_sections(dataset),
        style=Markup(style),
        style_hash=Markup("sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()),
    )
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _unused_sections(dataset: Dataset) -> list[Section]:
    """Return the first few clips of each reason, those with images first."""
    pictured = {row: clip for row, clip in dataset.measured_clips if not row.kept}
    by_reason: dict[str, list[Row]] = {reason: [] for reason in dataset.ledger.reasons()}
    for row in dataset.ledger.rows:
        if not row.kept:
            by_reason[row.reason.split(" (")[0]].append(row)
    sections = []
    for number, (reason, rows) in enumerate(by_reason.items()):
        shown = [(row, pictured[row]) for row in rows if row in pictured][:CLIPS_PER_SECTION]
        others = [row for row in rows if row not in pictured][: CLIPS_PER_SECTION - len(shown)]
        names = [f"{row.episode}/{row.camera}/{row.first_frame}: {_describe(row)}" for row in others]
        sections.append(Section(reason, f"Not used: {len(rows)}.", f"lost{number}", False, _strips(shown), names))
    return sections


def _ranked(dataset: Dataset) -> list[SameFootage]:
    return sorted(dataset.same_footage, key=lambda pair: pair.outcome != LEAK)


def _pairs(dataset: Dataset) -> list[PairStrips]:
    """Return the pairs of recordings that show the same footage, each pair at the same moments."""
    clips = {f"{clip.episode}/{clip.camera}": clip for _, clip in reversed(dataset.measured_clips)}
    shown = []
    for pair in _ranked(dataset)[:MAX_PAIRS]:
        strips = []
        for name, frame_indices in zip((pair.first, pair.second), zip(*pair.moments, strict=True), strict=True):
            picture = _contact_strip(clips[name], frame_indices)
            strips.append(Strip(name, f"frames {frame_indices[0]} to {frame_indices[-1]}", "", *picture))
        shown.append(PairStrips(f"{pair.outcome}: they {pair.description}", pair.outcome == LEAK, strips))
    return shown


def _worst_sections(dataset: Dataset) -> list[Section]:
    kept = [(row, clip) for row, clip in dataset.measured_clips if row.kept and not row.augmentation]
    sections = []
    for number, (title, (about, score)) in enumerate(WORST.items()):
        worst = sorted(kept, key=lambda shown, score=score: score(shown[0]))[:CLIPS_PER_SECTION]  # type: ignore[misc]
        if worst:
            sections.append(Section(f"Used: {title}", about, f"kept{number}", True, _strips(worst), []))
    return sections


def _strips(shown: Sequence[ShownClip]) -> list[Strip]:
    return [_strip(row, clip) for row, clip in shown]


def _strip(row: Row, clip: Clip) -> Strip:
    frame_indices = sorted(
        {clip.frame_indices[round(position)] for position in np.linspace(0, len(clip.frame_indices) - 1, COLUMNS)}
    )
    scores = (
        f"motion {row.motion or 0:.1f} · still {row.still or 0:.0%} · sharpness {row.sharpness or 0:.0f} · "
        f"brightness {row.brightness or 0:.0f}"
    )
    return Strip(clip.name, _describe(row), scores, *_contact_strip(clip, frame_indices))


def _contact_strip(clip: Clip, frame_indices: Sequence[int]) -> tuple[str, int, int]:
    """Return the recording's frames of these numbers side by side: a data URL, its width and its height."""
    width = max(1, HEIGHT * clip.width // clip.height)
    frames_by_index = dict(clip.footage.frames(sorted(set(frame_indices))))
    frames = [fit_frame(frames_by_index[frame_index], HEIGHT, width, clip.fit) for frame_index in frame_indices]
    strip = np.concatenate(frames, axis=1)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode(), strip.shape[1], strip.shape[0]


def _describe(row: Row) -> str:
    return "; ".join(filter(None, [row.reason, row.task or row.caption, row.note]))
