"""index.html of a report: one file with its style and script inside, allowed by their hashes alone.

Every text of the data reaches the page through jinja's autoescape; the charts escape their own.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from worldtune.evaluation.comparison import CONTROLS, FROZEN, NEAREST, REFERENCE, CaseRow, Group
from worldtune.evaluation.gates import outcome_of
from worldtune.evaluation.learned.frechet import Distance
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.report.plots import STYLE, Series, gain_chart, line_chart, loss_charts
from worldtune.evaluation.report.saved_report import SavedReport
from worldtune.evaluation.report.verdict import STILL, WILD, interval, remarks, signed, verdict
from worldtune.evaluation.report.votes import identity, preference, shares

EAGER_ROWS = 3
"""Rows of videos whose files load at once; the rest wait until they come near the screen."""
ADAPTER_STYLES = 5


@dataclass(frozen=True)
class Cell:
    """One video of the grid; the scores are null for the reference itself."""

    column: str
    style: str
    path: str
    psnr_db: float | None
    gain_db: float | None
    note: str


@dataclass(frozen=True)
class GridRow:
    """One clip of the grid with a video a column; `gain_db` is the subject's over the base."""

    case: CaseRow
    task: int
    gain_db: float
    cells: list[Cell]
    eager: bool
    seed: str


def render_page(saved: SavedReport) -> str:
    """The whole page as text."""
    templates = files("worldtune.evaluation.report") / "templates"
    style = "\n" + (templates / "report.css").read_text(encoding="utf-8") + STYLE
    script = "\n" + "\n".join((templates / name).read_text(encoding="utf-8") for name in ("report.js", "blind.js"))
    environment = Environment(
        loader=FileSystemLoader(str(templates)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(plain=_plain)
    environment.globals.update(interval=interval, signed=signed)
    comparison = saved.comparison
    base = comparison.reference_candidate
    styles = _styles(saved)
    return environment.get_template("report.html.j2").render(
        saved=saved,
        comparison=comparison,
        base=base,
        subject=saved.verdict_subject,
        frozen=FROZEN,
        measures={name: measure for name, measure in MEASURES.items() if name not in comparison.not_run},
        not_run={MEASURES[name].label: why for name, why in comparison.not_run.items()},
        distances=_distances(saved),
        outcomes={name: outcome_of(rulings) for name, rulings in saved.rulings.items()},
        styles=styles,
        verdict=verdict(comparison, saved.verdict_subject),
        remarks=remarks(comparison, saved.verdict_subject),
        goals=_goals(saved),
        typical=_typical(saved, styles),
        grid=_grid(saved, styles),
        tasks=_task_numbers(saved),
        frames=max(row.frames for row in comparison.rows),
        horizon=Markup(_horizon(comparison.headline, styles)),
        gains=[Markup(chart) for chart in _gains(saved)],
        losses=[Markup(chart) for chart in loss_charts(saved.curves, styles)],
        lineage=list(_flat(saved.lineage)),
        forgetting_columns=list(dict.fromkeys(key for row in saved.forgetting for key in row)),
        other_domains=[group for group in comparison.domains if not set(group.cases) & set(comparison.headline.cases)],
        identity=identity(comparison),
        vote_shares=shares(comparison, saved.votes),
        preference=preference(comparison, saved.votes, saved.verdict_subject, saved.blind_rival),
        blind_rival=saved.blind_rival,
        blind_pairs=Markup(_pairs(saved)),
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
    )


def _styles(saved: SavedReport) -> dict[str, str]:
    base = saved.comparison.reference_candidate
    named = dict.fromkeys([*saved.comparison.candidates, *saved.curves])
    adapters = [name for name in named if name not in (base, *CONTROLS)]
    coloured = {name: f"s{1 + place % ADAPTER_STYLES}" for place, name in enumerate(adapters)}
    return {base: "s0", FROZEN: "control", NEAREST: "control", REFERENCE: "truth", **coloured}


def _distances(saved: SavedReport) -> dict[str, dict[str, Distance]]:
    """By metric and candidate."""
    found: dict[str, dict[str, Distance]] = {}
    for distance in saved.distances:
        found.setdefault(distance.metric, {})[distance.candidate] = distance
    return found


def _pairs(saved: SavedReport) -> str:
    """JSON that may stand in a script element: no `<` is left in it."""
    names = (saved.verdict_subject, saved.blind_rival)
    pairs = [
        {
            "case": row.name,
            "prompt": row.prompt,
            "shown": [{"name": name, "path": saved.videos[row.name][name]} for name in names],
        }
        for row in saved.comparison.rows
        if row.name in set(saved.comparison.headline.cases)
    ]
    return json.dumps(pairs).replace("<", "\\u003c")


def _goals(saved: SavedReport) -> dict[str, int]:
    return {
        "reached": sum(figure.reached is True for figure in saved.figures),
        "missed": sum(figure.reached is False and figure.value is not None for figure in saved.figures),
        "unmeasured": sum(figure.value is None for figure in saved.figures),
        "set": sum(figure.goal is not None for figure in saved.figures),
    }


def _task_numbers(saved: SavedReport) -> dict[str, int]:
    return {task: place for place, task in enumerate(dict.fromkeys(row.task for row in saved.comparison.rows))}


def _typical(saved: SavedReport, styles: Mapping[str, str]) -> GridRow:
    """The clip with the median gain, with the base and the subject alone."""
    ranked = saved.comparison.worst_first(saved.verdict_subject, saved.comparison.headline.cases)
    columns = [REFERENCE, saved.comparison.reference_candidate, saved.verdict_subject]
    return _grid_row(saved, ranked[len(ranked) // 2], columns, styles, eager=True)


def _grid(saved: SavedReport, styles: Mapping[str, str]) -> list[tuple[str, list[GridRow]]]:
    """The headline's clips, then those of each other domain, each worst first."""
    headline = saved.comparison.headline
    others = [group for group in saved.comparison.domains if not set(group.cases) & set(headline.cases)]
    grid = []
    for group in (headline, *others):
        rows = saved.comparison.worst_first(saved.verdict_subject, group.cases)
        first = group is headline
        grid.append(
            (
                group.name,
                [
                    _grid_row(saved, row, saved.columns, styles, eager=first and place < EAGER_ROWS)
                    for place, row in enumerate(rows)
                ],
            )
        )
    return grid


def _grid_row(
    saved: SavedReport, row: CaseRow, columns: Sequence[str], styles: Mapping[str, str], *, eager: bool
) -> GridRow:
    base = saved.comparison.reference_candidate
    cells = []
    for column in columns:
        path = saved.videos[row.name][column]
        if column == REFERENCE:
            cells.append(Cell(column, styles[column], path, None, None, ""))
            continue
        ratio = row.scores[column].values["motion_ratio"]
        psnr_db = _shown(saved, row, column)
        note = "" if ratio is None else "barely moves" if ratio < STILL else "restless" if ratio > WILD else ""
        gain = None if column == base else psnr_db - _shown(saved, row, base)
        cells.append(Cell(column, styles[column], path, psnr_db, gain, note))
    task = _task_numbers(saved)[row.task]
    takes = len(row.takes[saved.verdict_subject])
    seed = f"seed {saved.shown_seeds[row.name]}, the worst of {takes}" if takes > 1 else ""
    return GridRow(row, task, row.gain_db(saved.verdict_subject, base), cells, eager, seed)


def _shown(saved: SavedReport, row: CaseRow, column: str) -> float:
    """PSNR of the video that is shown: that of its seed."""
    takes = row.takes[column]
    value = next((take for take in takes if take.seed == saved.shown_seeds[row.name]), takes[0]).values["psnr_db"]
    assert value is not None
    return value


def _horizon(group: Group, styles: Mapping[str, str]) -> str:
    series = [
        Series(name, [(t, db) for t, db in enumerate(values, start=1)], styles[name])
        for name, values in group.horizon["psnr_db"].items()
    ]
    return line_chart(series, title="PSNR over the horizon, dB", x_label="frame (0 is given)")


def _gains(saved: SavedReport) -> list[str]:
    base = saved.comparison.reference_candidate
    rivals = (base, FROZEN)
    charts = []
    for rival in rivals:
        pairs = [
            (row.name, row.gain_db(saved.verdict_subject, rival))
            for row in saved.comparison.rows
            if row.name in set(saved.comparison.headline.cases)
        ]
        pairs.sort(key=lambda pair: pair[1])
        against = "the base" if rival == "base" else "a frozen first frame" if rival == FROZEN else rival
        charts.append(gain_chart(pairs, title=f"Gain of {saved.verdict_subject} over {against}, clip by clip"))
    return charts


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    leaves: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves += _flat(value, f"{prefix}{key} · ")
        elif isinstance(value, list | tuple):
            leaves.append((f"{prefix}{key}", ", ".join(_plain(item) for item in value)))
        else:
            leaves.append((f"{prefix}{key}", _plain(value)))
    return leaves


def _plain(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}".replace("-", "−")
        case _:
            return str(value)


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
