"""A page of a dataset's worst clips of each kind, to be looked at: those not used by reason, those used by score.

One HTML file with its pictures inside; nothing is loaded from elsewhere, and every text is escaped.
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

from worldtune.episodes.clip import Clip
from worldtune.episodes.dataset import Dataset
from worldtune.episodes.ledger import Row
from worldtune.episodes.spec import DataSpec
from worldtune.episodes.video import fit_frame
from worldtune.files import atomic_file

EACH = 6  # clips of a kind
COLUMNS, HEIGHT = 6, 96
Shown = tuple[Row, Clip]

WORST: dict[str, tuple[str, Callable[[Row], float]]] = {
    "least motion": ("Used, but hardly anything moves: is the task done in them?", lambda row: row.motion or 0),
    "longest stills": ("Used, but for much of the clip nothing moves.", lambda row: -(row.still or 0)),
    "least sharp": ("Used, but the softest of all.", lambda row: row.sharpness or 0),
    "darkest": ("Used, but the darkest.", lambda row: row.brightness or 0),
}


@dataclass(frozen=True)
class Strip:
    """A row of frames of one clip."""

    name: str
    said: str
    scores: str
    picture: str
    width: int
    height: int


@dataclass(frozen=True)
class Part:
    """The clips of one kind; `others` are the names of those without pictures, each with its reason."""

    title: str
    about: str
    anchor: str
    kept: bool
    strips: list[Strip]
    others: list[str]


def write_curation_page(path: Path, spec: DataSpec, dataset: Dataset) -> None:
    """Write the page. Raises DataError when a clip cannot be decoded, UserError when the file cannot be written."""
    templates = files("worldtune.episodes") / "templates"
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
        parts=_lost(dataset) + _worst(dataset),
        style=Markup(style),
        style_hash=Markup("sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()),
    )
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _lost(dataset: Dataset) -> list[Part]:
    """Of each reason the first few clips, those that have pictures first."""
    pictured = {row: clip for row, clip in dataset.looked_at if not row.kept}
    by_reason: dict[str, list[Row]] = {reason: [] for reason in dataset.ledger.reasons()}
    for row in dataset.ledger.rows:
        if not row.kept:
            by_reason[row.reason.split(" (")[0]].append(row)
    parts = []
    for number, (reason, rows) in enumerate(by_reason.items()):
        shown = [(row, pictured[row]) for row in rows if row in pictured][:EACH]
        others = [row for row in rows if row not in pictured][: EACH - len(shown)]
        names = [f"{row.episode}/{row.camera}/{row.first_frame}: {_said(row)}" for row in others]
        parts.append(Part(reason, f"Not used: {len(rows)}.", f"lost{number}", False, _strips(shown), names))
    return parts


def _worst(dataset: Dataset) -> list[Part]:
    kept = [(row, clip) for row, clip in dataset.looked_at if row.kept and not row.change]
    parts = []
    for number, (title, (about, score)) in enumerate(WORST.items()):
        worst = sorted(kept, key=lambda shown, score=score: score(shown[0]))[:EACH]  # type: ignore[misc]
        if worst:
            parts.append(Part(f"Used: {title}", about, f"kept{number}", True, _strips(worst), []))
    return parts


def _strips(shown: Sequence[Shown]) -> list[Strip]:
    return [_strip(row, clip) for row, clip in shown]


def _strip(row: Row, clip: Clip) -> Strip:
    picks = sorted({clip.picks[round(at)] for at in np.linspace(0, len(clip.picks) - 1, COLUMNS)})
    width = max(1, HEIGHT * clip.width // clip.height)
    frames = [fit_frame(frame_HWC, HEIGHT, width, clip.fit) for _, frame_HWC in clip.footage.frames(picks)]
    strip = np.concatenate(frames, axis=1)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(strip, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    scores = (
        f"motion {row.motion or 0:.1f} · still {row.still or 0:.0%} · sharpness {row.sharpness or 0:.0f} · "
        f"brightness {row.brightness or 0:.0f}"
    )
    picture = "data:image/jpeg;base64," + base64.b64encode(jpeg.tobytes()).decode()
    return Strip(clip.name, _said(row), scores, picture, strip.shape[1], strip.shape[0])


def _said(row: Row) -> str:
    return "; ".join(filter(None, [row.reason, row.task or row.caption, row.note]))
