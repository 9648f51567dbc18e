"""One picture of a source: a row of evenly spaced frames for each of a few recordings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldtune.episodes.episode import Episode
from worldtune.episodes.video import fit_frame
from worldtune.errors import DataError
from worldtune.files import atomic_file

ROWS, COLUMNS = 6, 8
TILE_HEIGHT, GAP, MARGIN, LABEL = 112, 4, 16, 22
PAPER, INK, SOFT = (255, 255, 255), (27, 31, 36), (89, 99, 110)


def write_sheet(path: Path, episodes: Sequence[Episode], rows: int = ROWS, columns: int = COLUMNS) -> int:
    """Write a PNG of at most `rows` recordings, evenly spaced over the list; returns how many.

    Raises DataError when there are none, or one cannot be decoded.
    """
    if not episodes:
        raise DataError("there is no recording to show", where=str(path), mend="See the problems above.")
    chosen = [episodes[i] for i in _spread(len(episodes), rows)]
    strips = [_strip(episode, columns) for episode in chosen]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width + 2 * MARGIN, len(strips) * (LABEL + TILE_HEIGHT + GAP) + 2 * MARGIN), PAPER)
    top = MARGIN
    for episode, strip in zip(chosen, strips, strict=True):
        _label(sheet, episode, top, width)
        sheet.paste(strip, (MARGIN, top + LABEL))
        top += LABEL + TILE_HEIGHT + GAP
    with atomic_file(path) as partial:
        sheet.save(partial, format="PNG")
    return len(chosen)


def _spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` indices over 0 … count - 1, first and last included."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(wanted, count))})


def _strip(episode: Episode, columns: int) -> Image.Image:
    width = max(1, round(TILE_HEIGHT * episode.width / episode.height))
    strip = Image.new("RGB", (columns * (width + GAP) - GAP, TILE_HEIGHT), PAPER)
    left = 0
    for _, frame_HWC in episode.footage.frames(_spread(episode.frames, columns)):
        strip.paste(Image.fromarray(fit_frame(frame_HWC, TILE_HEIGHT, width, "stretch")), (left, 0))
        left += width + GAP
    return strip


def _label(sheet: Image.Image, episode: Episode, top: int, width: int) -> None:
    """Episode and length on the left, then as much of camera and task as the row holds."""
    font = ImageFont.load_default(13)
    pen = ImageDraw.Draw(sheet)
    head = f"{episode.name}  {episode.frames} frames, {episode.frames / episode.fps:.1f} s  "
    text = f"{episode.camera}  {episode.task or episode.caption}"
    room = width - font.getlength(head)
    while text and font.getlength(text) > room:
        text = text[:-2] + "…" if len(text) > 2 else ""
    pen.text((MARGIN, top + 2), head, INK, font)
    pen.text((MARGIN + font.getlength(head), top + 2), text, SOFT, font)
