"""index.html of the report: one file with inline style and script, which the page's policy allows only by hash.

Jinja's autoescape escapes every text of the data, after `one_line` has shown its invisible characters. The charts
escape theirs themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from worldtune.core.safe_text import one_line
from worldtune.dreams.study.report.charts import ChartRow, learning_curve, success_chart
from worldtune.dreams.study.report.clips import ShownRow
from worldtune.dreams.study.report.price import forecast_sentence, price
from worldtune.dreams.study.report.size import not_shown, why_too_small
from worldtune.dreams.study.report.tables import (
    critic_rows,
    difference_rows,
    figure_rows,
    lost_stage,
    replay_rows,
    stage_rows,
    stage_seconds,
)
from worldtune.dreams.study.report.words import STYLES, TARGETS, arm_name, duration, millimeters, percent, success
from worldtune.dreams.study.saved_results import StudyResults
from worldtune.dreams.study.settings import MORE_REAL
from worldtune.evaluation.metrics.end_points import MAX_ERROR_OVER_SPREAD
from worldtune.evaluation.report.page import csp_hash
from worldtune.evaluation.report.plots import STYLE


@dataclass(frozen=True)
class StudySection:
    """One study of the page, with the videos it shows."""

    results: StudyResults
    clips: Sequence[ShownRow]

    @property
    def title(self) -> str:
        """The study's name, such as "New camera (top)"."""
        settings = self.results.settings
        return f"{TARGETS[settings.target]} ({settings.view})"


def render_page(studies: Sequence[StudySection]) -> str:
    """Return the HTML of the page."""
    shared = files("worldtune.evaluation.report") / "templates" / "report.css"
    templates = files("worldtune.dreams.study.report") / "templates"
    style = "\n" + shared.read_text(encoding="utf-8") + STYLE + (templates / "study.css").read_text(encoding="utf-8")
    script = "\n" + (templates / "study.js").read_text(encoding="utf-8")
    environment = Environment(
        loader=FileSystemLoader(str(templates)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_safe,
    )
    environment.filters.update(percent=percent, success=success, duration=duration, millimeters=millimeters)
    environment.globals.update(
        arm_name=arm_name,
        critic_rows=critic_rows,
        difference_rows=difference_rows,
        figure_rows=figure_rows,
        lost_stage=lost_stage,
        replay_rows=replay_rows,
        stage_rows=stage_rows,
        stage_seconds=stage_seconds,
        price=price,
        forecast_sentence=forecast_sentence,
        not_shown=not_shown,
        why_too_small=why_too_small,
        tone=tone,
        chart=_chart,
        curve=_curve,
        flatten=_flatten,
    )
    return environment.get_template("study.html.j2").render(
        studies=studies,
        styles=STYLES,
        max_ratio=MAX_ERROR_OVER_SPREAD,
        style=Markup(style),
        script=Markup(script),
        style_hash=csp_hash(style),
        script_hash=csp_hash(script),
    )


def tone(study: StudyResults, task: str) -> str:
    """Return "good" if dreams help more than shuffled labels do, "bad" if they harm, otherwise "unsure"."""
    results = study.tasks[task]
    gain, over_shuffled = results.difference("lora", "real"), results.difference("lora", "shuffled")
    if gain is None or results.room.reason or why_too_small(study.settings):
        return "unsure"
    if gain.high < 0:
        return "bad"
    return "good" if gain.low > 0 and over_shuffled is not None and over_shuffled.low > 0 else "unsure"


def _safe(value: object) -> object:
    """Return a text as one line without characters that reorder or hide other text; markup stays as it is."""
    return one_line(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _chart(study: StudyResults, task: str) -> Markup:
    settings = study.settings
    rows = [
        ChartRow(arm_name(settings, arm), STYLES.get(arm, "real"), found)
        for arm, found in study.tasks[task].success.items()
    ]
    return Markup(success_chart(rows, task))


def _curve(study: StudyResults, task: str) -> Markup | None:
    """Return the learning curve, None if no arm has more real demonstrations."""
    results, count = study.tasks[task], study.settings.demonstrations
    times = {"real": 1, **MORE_REAL}
    real = [(count * times[arm], found) for arm, found in results.success.items() if arm in times]
    if len(real) < 2:
        return None
    return Markup(learning_curve(sorted(real), results.success.get("lora"), results.worth, task))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested settings with their keys."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)
