"""A contact sheet of a source: one image with a row of evenly spaced frames for each of a few recordings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldtune.core.files import atomic_file
from worldtune.data.episode import Episode
from worldtune.data.video.decode import fit_frame
from worldtune.errors import DataError

ROWS, COLUMNS = 6, 8
TILE_HEIGHT, GAP, MARGIN, LABEL = 112, 4, 16, 22
BACKGROUND, TEXT_COLOR, MUTED_COLOR = (255, 255, 255), (27, 31, 36), (89, 99, 110)


def write_sheet(path: Path, episodes: Sequence[Episode], rows: int = ROWS, columns: int = COLUMNS) -> int:
    """Write a PNG of at most `rows` recordings, evenly spaced over the list; return how many.

    Raise DataError if there are no recordings, or one cannot be decoded.
    """
    if not episodes:
        raise DataError("no recording to show", where=str(path), hint="See the problems above.")
    chosen = [episodes[i] for i in _evenly_spaced(len(episodes), rows)]
    strips = [_strip(episode, columns) for episode in chosen]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width + 2 * MARGIN, len(strips) * (LABEL + TILE_HEIGHT + GAP) + 2 * MARGIN), BACKGROUND)
    top = MARGIN
    for episode, strip in zip(chosen, strips, strict=True):
        _label(sheet, episode, top, width)
        sheet.paste(strip, (MARGIN, top + LABEL))
        top += LABEL + TILE_HEIGHT + GAP
    with atomic_file(path) as partial:
        sheet.save(partial, format="PNG")
    return len(chosen)


def _evenly_spaced(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` indices over 0 … count - 1, including the first and the last."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(wanted, count))})


def _strip(episode: Episode, columns: int) -> Image.Image:
    width = max(1, round(TILE_HEIGHT * episode.width / episode.height))
    strip = Image.new("RGB", (columns * (width + GAP) - GAP, TILE_HEIGHT), BACKGROUND)
    left = 0
    for _, frame_HWC in episode.footage.frames(_evenly_spaced(episode.frames, columns)):
        strip.paste(Image.fromarray(fit_frame(frame_HWC, TILE_HEIGHT, width, "stretch")), (left, 0))
        left += width + GAP
    return strip


def _label(sheet: Image.Image, episode: Episode, top: int, width: int) -> None:
    """Draw episode and length on the left, then as much of camera and task as fits."""
    font = ImageFont.load_default(13)
    canvas = ImageDraw.Draw(sheet)
    head = f"{episode.name}  {episode.frames} frames, {episode.frames / episode.fps:.1f} s  "
    text = f"{episode.camera}  {episode.task or episode.caption}"
    space = width - font.getlength(head)
    while text and font.getlength(text) > space:
        text = text[:-2] + "…" if len(text) > 2 else ""
    canvas.text((MARGIN, top + 2), head, TEXT_COLOR, font)
    canvas.text((MARGIN + font.getlength(head), top + 2), text, MUTED_COLOR, font)
