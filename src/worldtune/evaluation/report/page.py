"""index.html of a report: one file with inline style and script, which the page's policy allows only by hash.

Jinja's autoescape escapes every text of the data; the charts escape theirs themselves.
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

from worldtune.evaluation.comparison.gates import describe_outcome, overall_outcome
from worldtune.evaluation.learned.frechet import Distance
from worldtune.evaluation.report.plots import STYLE, Series, gain_chart, line_chart, loss_charts
from worldtune.evaluation.report.saved_report import SavedReport
from worldtune.evaluation.report.verdict import MAX_MOTION, MIN_MOTION, interval, remarks, signed, verdict
from worldtune.evaluation.report.votes import preference, report_identity, shares
from worldtune.evaluation.results import CONTROLS, FROZEN, REFERENCE, CaseRow, Group
from worldtune.evaluation.scoring.metric_definitions import METRICS

EAGER_ROWS = 3
"""Rows of videos that load at once; the others load when they come near the screen."""
ADAPTER_STYLES = 5


@dataclass(frozen=True)
class Cell:
    """One video of the grid; its scores are None for the reference."""

    column: str
    style: str
    path: str
    psnr_db: float | None
    gain_db: float | None
    note: str


@dataclass(frozen=True)
class GridRow:
    """One clip of the grid with a video for each column; `gain_db` is the subject's gain over the base."""

    case: CaseRow
    task: int
    gain_db: float
    cells: list[Cell]
    eager: bool
    seed: str


def render_page(saved: SavedReport) -> str:
    """Return the HTML of the page."""
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
    environment.filters.update(plain=_format_value)
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
        measures={name: metric for name, metric in METRICS.items() if name not in comparison.not_run},
        not_run={METRICS[name].label: why for name, why in comparison.not_run.items()},
        distances=_distances(saved),
        outcomes={name: _outcome(saved, name) for name in saved.gate_results},
        styles=styles,
        verdict=verdict(comparison, saved.verdict_subject),
        remarks=remarks(comparison, saved.verdict_subject),
        goals=_count_goals(saved),
        typical=_typical_row(saved, styles),
        grid=_grid(saved, styles),
        tasks=_task_numbers(saved),
        frames=max(row.frames for row in comparison.rows),
        horizon=Markup(_horizon(comparison.headline, styles)),
        gains=[Markup(chart) for chart in _gains(saved)],
        losses=[Markup(chart) for chart in loss_charts(saved.curves, styles)],
        lineage=list(_flatten(saved.lineage)),
        forgetting_columns=list(dict.fromkeys(key for row in saved.retention for key in row)),
        other_domains=[group for group in comparison.domains if not set(group.cases) & set(comparison.headline.cases)],
        report_identity=report_identity(comparison),
        vote_shares=shares(comparison, saved.votes),
        preference=preference(comparison, saved.votes, saved.verdict_subject, saved.blind_baseline),
        blind_baseline=saved.blind_baseline,
        blind_pairs=Markup(_blind_pairs(saved)),
        style=Markup(style),
        script=Markup(script),
        style_hash=csp_hash(style),
        script_hash=csp_hash(script),
    )


def _styles(saved: SavedReport) -> dict[str, str]:
    base = saved.comparison.reference_candidate
    named = dict.fromkeys([*saved.comparison.candidates, *saved.curves])
    adapters = [name for name in named if name not in (base, *CONTROLS)]
    colored = {name: f"s{1 + index % ADAPTER_STYLES}" for index, name in enumerate(adapters)}
    return {base: "s0", **dict.fromkeys(CONTROLS, "control"), REFERENCE: "truth", **colored}


def _outcome(saved: SavedReport, candidate: str) -> tuple[str, str]:
    """Return the outcome in words and its tone. Passed checks without quality gates are not good news."""
    gate_results = saved.gate_results[candidate]
    tones = {"pass": "good" if saved.policy.gates else "unsure", "fail": "bad"}
    return describe_outcome(saved.policy, gate_results), tones.get(overall_outcome(gate_results), "unsure")


def _distances(saved: SavedReport) -> dict[str, dict[str, Distance]]:
    """Return the distances by metric and candidate."""
    by_metric: dict[str, dict[str, Distance]] = {}
    for distance in saved.distances:
        by_metric.setdefault(distance.metric, {})[distance.candidate] = distance
    return by_metric


def _blind_pairs(saved: SavedReport) -> str:
    """Return the pairs for blind votes as JSON for a script element, with every `<` escaped."""
    names = (saved.verdict_subject, saved.blind_baseline)
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


def _count_goals(saved: SavedReport) -> dict[str, int]:
    return {
        "reached": sum(figure.reached is True for figure in saved.figures),
        "missed": sum(figure.reached is False and figure.value is not None for figure in saved.figures),
        "unmeasured": sum(figure.value is None for figure in saved.figures),
        "set": sum(figure.goal is not None for figure in saved.figures),
    }


def _task_numbers(saved: SavedReport) -> dict[str, int]:
    return {task: number for number, task in enumerate(dict.fromkeys(row.task for row in saved.comparison.rows))}


def _typical_row(saved: SavedReport, styles: Mapping[str, str]) -> GridRow:
    """Return the clip with the median gain, with the reference, the base and the subject."""
    ranked = saved.comparison.worst_first(saved.verdict_subject, saved.comparison.headline.cases)
    columns = [REFERENCE, saved.comparison.reference_candidate, saved.verdict_subject]
    return _grid_row(saved, ranked[len(ranked) // 2], columns, styles, eager=True)


def _grid(saved: SavedReport, styles: Mapping[str, str]) -> list[tuple[str, list[GridRow]]]:
    """Return the rows of the headline, then those of each other domain, each with the worst first."""
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
                    _grid_row(saved, row, saved.columns, styles, eager=first and index < EAGER_ROWS)
                    for index, row in enumerate(rows)
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
        psnr_db = _shown_psnr(saved, row, column)
        note = (
            "" if ratio is None else "barely moves" if ratio < MIN_MOTION else "restless" if ratio > MAX_MOTION else ""
        )
        gain = None if column == base else psnr_db - _shown_psnr(saved, row, base)
        cells.append(Cell(column, styles[column], path, psnr_db, gain, note))
    task = _task_numbers(saved)[row.task]
    seeds = len(row.seed_scores[saved.verdict_subject])
    seed = f"seed {saved.shown_seeds[row.name]}, the worst of {seeds}" if seeds > 1 else ""
    return GridRow(row, task, row.gain_db(saved.verdict_subject, base), cells, eager, seed)


def _shown_psnr(saved: SavedReport, row: CaseRow, column: str) -> float:
    """Return the PSNR of the shown video, in dB."""
    seed_scores = row.seed_scores[column]
    value = next(
        (seed_score for seed_score in seed_scores if seed_score.seed == saved.shown_seeds[row.name]), seed_scores[0]
    ).values["psnr_db"]
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
    baselines = (base, FROZEN)
    charts = []
    for baseline in baselines:
        pairs = [
            (row.name, row.gain_db(saved.verdict_subject, baseline))
            for row in saved.comparison.rows
            if row.name in set(saved.comparison.headline.cases)
        ]
        pairs.sort(key=lambda pair: pair[1])
        against = "the base" if baseline == "base" else "a frozen first frame" if baseline == FROZEN else baseline
        charts.append(gain_chart(pairs, title=f"Gain of {saved.verdict_subject} over {against}, clip by clip"))
    return charts


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    leaves: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves += _flatten(value, f"{prefix}{key} · ")
        elif isinstance(value, list | tuple):
            leaves.append((f"{prefix}{key}", ", ".join(_format_value(item) for item in value)))
        else:
            leaves.append((f"{prefix}{key}", _format_value(value)))
    return leaves


def _format_value(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}".replace("-", "−")
        case _:
            return str(value)


def csp_hash(text: str) -> str:
    """Return the source expression that allows an inline style or script with this text (CSP level 3, §2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
