"""A contact sheet of the result: a few clips, with a row of frames for the reference and each candidate.

Shape letters: T frames, H height, W width, C channels.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from worldtune.core.files import atomic_file
from worldtune.errors import UserError
from worldtune.evaluation.candidates.baselines import frozen_video
from worldtune.evaluation.cases.case import CandidateVideos, Case, Frames
from worldtune.evaluation.metrics.fidelity import psnr
from worldtune.evaluation.results import FROZEN, REFERENCE

TILE_SIDE = 128
"""Target size of a frame's longer side in pixels; smaller frames are enlarged by an integer factor."""
TILE_GAP, MARGIN, LABEL_WIDTH, HEADING_HEIGHT = 4, 16, 150, 30
PAPER_COLOR, TEXT_COLOR, SOFT_COLOR = (255, 255, 255), (27, 31, 36), (89, 99, 110)


def write_contact_sheet(
    path: Path,
    cases: Sequence[Case],
    candidates: CandidateVideos,
    columns: Sequence[str],
    shown: int = 3,
    frames: int = 7,
) -> None:
    """Write a PNG of `shown` clips by `columns` by `frames` evenly spaced frames (first and last included).

    `columns` are names in order: "reference", candidates, "first frame frozen". Clips of different tasks come first,
    in the order of `cases`. Raise UserError if a column or a clip is absent.
    """
    chosen = _choose_cases(cases, shown)
    if not chosen:
        raise UserError("there is no case to show", where=str(path), hint="Give at least one case.")
    strips = [[_column_frames(case, candidates, column) for column in columns] for case in chosen]
    blocks = [_draw_case(case, columns, clips, frames) for case, clips in zip(chosen, strips, strict=True)]
    wide = max(block.width for block in blocks) + 2 * MARGIN
    sheet = Image.new("RGB", (wide, sum(block.height + MARGIN for block in blocks) + MARGIN), PAPER_COLOR)
    top = MARGIN
    for block in blocks:
        sheet.paste(block, (MARGIN, top))
        top += block.height + MARGIN
    with atomic_file(path) as partial:
        sheet.save(partial, format="PNG", optimize=True)


def _choose_cases(cases: Sequence[Case], shown: int) -> list[Case]:
    first_of_task = {case.task: case for case in reversed(cases)}
    firsts = [case for case in cases if first_of_task[case.task] is case]
    rest = [case for case in cases if first_of_task[case.task] is not case]
    return [*firsts, *rest][:shown]


def _column_frames(case: Case, candidates: CandidateVideos, column: str) -> Frames:
    if column == REFERENCE:
        return case.reference.read()
    if column == FROZEN:
        return frozen_video(case).read()
    if column not in candidates or case.name not in candidates[column]:
        raise UserError(f"{column} has no clip of this case", where=case.name, hint="Use the names of the candidates.")
    return candidates[column][case.name][0].read()


def _draw_case(case: Case, columns: Sequence[str], clips: Sequence[Frames], frames: int) -> Image.Image:
    reference_THWC = case.reference.read()
    picks = np.unique(np.linspace(0, len(reference_THWC) - 1, frames).round().astype(int))
    rows = [[_resize_frame(clip_THWC[pick]) for pick in picks] for clip_THWC in clips]
    tall, wide = rows[0][0].shape[:2]
    size = (LABEL_WIDTH + len(picks) * (wide + TILE_GAP), HEADING_HEIGHT + len(rows) * (tall + TILE_GAP) + 18)
    block = Image.new("RGB", size, PAPER_COLOR)
    draw = ImageDraw.Draw(block)
    heading = f"{case.prompt or case.task or case.name}"
    draw.text((0, 4), _truncate(heading, size[0], _font(17)), TEXT_COLOR, _font(17))
    for index, (column, clip_THWC, row) in enumerate(zip(columns, clips, rows, strict=True)):
        top = HEADING_HEIGHT + index * (tall + TILE_GAP)
        draw.text((0, top + tall / 2 - 20), _truncate(column, LABEL_WIDTH - 8, _font(17)), TEXT_COLOR, _font(17))
        score = "the real video" if column == REFERENCE else f"{psnr(clip_THWC, reference_THWC):.1f} dB"
        draw.text((0, top + tall / 2 + 2), score, SOFT_COLOR, _font(15))
        for across, tile_HWC in enumerate(row):
            block.paste(Image.fromarray(tile_HWC), (LABEL_WIDTH + across * (wide + TILE_GAP), top))
    for across, pick in enumerate(picks):
        draw.text((LABEL_WIDTH + across * (wide + TILE_GAP), size[1] - 17), f"frame {pick}", SOFT_COLOR, _font(13))
    return block


def _resize_frame(picture_HWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the picture enlarged by an integer factor or reduced, so that its longer side is near `TILE_SIDE`."""
    height, width = picture_HWC.shape[:2]
    longer = max(height, width)
    if longer <= TILE_SIDE:
        times = TILE_SIDE // longer
        return np.repeat(np.repeat(picture_HWC, times, axis=0), times, axis=1)
    size = (round(width * TILE_SIDE / longer), round(height * TILE_SIDE / longer))
    return np.asarray(cv2.resize(picture_HWC, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _truncate(text: str, wide: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text as one line, cut with an ellipsis if it is wider than `wide` pixels."""
    line = " ".join(text.split())
    if font.getlength(line) <= wide:
        return line
    while line and font.getlength(line + "...") > wide:
        line = line[:-1]
    return line.rstrip() + "..."
