"""One picture that shows the result: a few clips, a row of frames for the reference and for each candidate.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from worldtune.errors import UserError
from worldtune.evaluation.case import Candidates, Case, Frames
from worldtune.evaluation.comparison import FROZEN, REFERENCE
from worldtune.evaluation.controls import frozen
from worldtune.evaluation.metrics.fidelity import psnr
from worldtune.files import atomic_file

TILE = 128
"""Pixels of a frame's longer side, at least; small frames are enlarged by a whole factor."""
GAP, MARGIN, LABELS, HEADING = 4, 16, 150, 30
PAPER, INK, SOFT = (255, 255, 255), (27, 31, 36), (89, 99, 110)


def write_contact_sheet(
    path: Path, cases: Sequence[Case], candidates: Candidates, columns: Sequence[str], shown: int = 3, frames: int = 7
) -> None:
    """Write a PNG of `shown` clips by `columns` by `frames` evenly spaced frames (first and last included).

    `columns` names what to show, in order: "reference", candidates, "first frame frozen". Clips of different
    tasks come first, in the order of `cases`. Raises UserError when a column or a clip is absent.
    """
    chosen = _chosen(cases, shown)
    if not chosen:
        raise UserError("there is no case to show", where=str(path), mend="Give at least one case.")
    strips = [[_clip(case, candidates, column) for column in columns] for case in chosen]
    blocks = [_block(case, columns, clips, frames) for case, clips in zip(chosen, strips, strict=True)]
    wide = max(block.width for block in blocks) + 2 * MARGIN
    sheet = Image.new("RGB", (wide, sum(block.height + MARGIN for block in blocks) + MARGIN), PAPER)
    top = MARGIN
    for block in blocks:
        sheet.paste(block, (MARGIN, top))
        top += block.height + MARGIN
    with atomic_file(path) as partial:
        sheet.save(partial, format="PNG", optimize=True)


def _chosen(cases: Sequence[Case], shown: int) -> list[Case]:
    first_of_task = {case.task: case for case in reversed(cases)}
    firsts = [case for case in cases if first_of_task[case.task] is case]
    rest = [case for case in cases if first_of_task[case.task] is not case]
    return [*firsts, *rest][:shown]


def _clip(case: Case, candidates: Candidates, column: str) -> Frames:
    if column == REFERENCE:
        return case.reference.read()
    if column == FROZEN:
        return frozen(case).read()
    if column not in candidates or case.name not in candidates[column]:
        raise UserError(f"{column} has no clip of this case", where=case.name, mend="Name the columns there are.")
    return candidates[column][case.name][0].read()


def _block(case: Case, columns: Sequence[str], clips: Sequence[Frames], frames: int) -> Image.Image:
    reference_THWC = case.reference.read()
    picks = np.unique(np.linspace(0, len(reference_THWC) - 1, frames).round().astype(int))
    rows = [[_tile(clip_THWC[pick]) for pick in picks] for clip_THWC in clips]
    tall, wide = rows[0][0].shape[:2]
    size = (LABELS + len(picks) * (wide + GAP), HEADING + len(rows) * (tall + GAP) + 18)
    block = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(block)
    heading = f"{case.prompt or case.task or case.name}"
    draw.text((0, 4), _fitted(heading, size[0], _font(17)), INK, _font(17))
    for place, (column, clip_THWC, row) in enumerate(zip(columns, clips, rows, strict=True)):
        top = HEADING + place * (tall + GAP)
        draw.text((0, top + tall / 2 - 20), _fitted(column, LABELS - 8, _font(17)), INK, _font(17))
        score = "the real video" if column == REFERENCE else f"{psnr(clip_THWC, reference_THWC):.1f} dB"
        draw.text((0, top + tall / 2 + 2), score, SOFT, _font(15))
        for across, tile_HWC in enumerate(row):
            block.paste(Image.fromarray(tile_HWC), (LABELS + across * (wide + GAP), top))
    for across, pick in enumerate(picks):
        draw.text((LABELS + across * (wide + GAP), size[1] - 17), f"frame {pick}", SOFT, _font(13))
    return block


def _tile(picture_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Enlarged by a whole factor, or reduced, so that the longer side comes near `TILE`."""
    height, width = picture_HWC.shape[:2]
    longer = max(height, width)
    if longer <= TILE:
        times = TILE // longer
        return np.repeat(np.repeat(picture_HWC, times, axis=0), times, axis=1)
    size = (round(width * TILE / longer), round(height * TILE / longer))
    return np.asarray(cv2.resize(picture_HWC, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitted(text: str, wide: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, cut with an ellipsis where it would be wider than `wide` pixels; one line."""
    line = " ".join(text.split())
    if font.getlength(line) <= wide:
        return line
    while line and font.getlength(line + "...") > wide:
        line = line[:-1]
    return line.rstrip() + "..."
