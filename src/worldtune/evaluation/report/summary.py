"""The evaluation in Markdown, for a pull request: verdict, gates, the metrics that matter, the worst clips."""

from collections.abc import Iterator, Sequence

from worldtune.core.safe_text import markdown, one_line
from worldtune.evaluation.comparison import CONTROLS, Group
from worldtune.evaluation.gates import outcome_of
from worldtune.evaluation.measures import MEASURES
from worldtune.evaluation.report.saved_report import SavedReport
from worldtune.evaluation.report.verdict import interval, remarks, signed, verdict
from worldtune.evaluation.report.votes import preference, shares

WORST = 5
SIGNS = {"pass": "✓ pass", "fail": "✗ fail", "not enough evidence": "? not enough evidence"}


def summary(saved: SavedReport) -> str:
    """The whole text. What comes from the data is escaped: it is text wherever it stands."""
    return "\n".join(_lines(saved)) + "\n"


def _lines(saved: SavedReport) -> Iterator[str]:
    comparison, subject = saved.comparison, saved.verdict_subject
    yield f"# {markdown(saved.title)}"
    yield ""
    yield f"**{markdown(verdict(comparison, subject).text)}**"
    yield ""
    for remark in remarks(comparison, subject):
        yield f"- {markdown(remark.text)}"
    for note in saved.notes:
        yield f"- {markdown(note)}"
    for candidate, rulings in saved.rulings.items():
        yield ""
        yield f"## Gates: {markdown(candidate)}, {outcome_of(rulings)}"
        yield ""
        yield from _table(["gate", "", "measured"], [[each.gate, SIGNS[each.outcome], each.why] for each in rulings])
    yield ""
    yield f"## Metrics, {len(comparison.headline.cases)} held-out clips"
    yield ""
    yield from _metrics(saved, comparison.headline)
    yield ""
    yield f"## Worst clips of {markdown(subject)}"
    yield ""
    yield from _worst(saved)
    yield ""
    yield "Reproduce:"
    yield ""
    yield "    " + " ".join(one_line(saved.reproduce).split())


def _metrics(saved: SavedReport, group: Group) -> Iterator[str]:
    comparison, subject, base = saved.comparison, saved.verdict_subject, saved.comparison.reference_candidate
    rows = []
    for name, measure in MEASURES.items():
        if name in comparison.not_run:
            continue
        cells = []
        for candidate in comparison.candidates:
            mean = group.results[candidate].means[name]
            range_ = interval(mean.low, mean.high, measure.digits)
            n = f" n = {mean.n}" if mean.n < len(group.cases) else ""
            cells.append("–" if mean.mean is None else f"{mean.mean:.{measure.digits}f} {range_}{n}".strip())
        paired = group.results[subject].against[base].get(name)
        unit = f", {measure.unit}" if measure.unit else ""
        said = paired.verdict if paired and paired.n else ""
        rows.append([f"{measure.label}{unit} ({measure.way})", *cells, said])
    if saved.votes:
        won = shares(comparison, saved.votes)
        cells = [f"{won[name][0]:.2f} of {won[name][1]}" if name in won else "–" for name in comparison.candidates]
        rival = saved.blind_rival
        preferred = preference(comparison, saved.votes, subject, rival)
        rows.append([f"blind votes ({subject} beside {rival})", *cells, preferred.verdict if preferred else ""])
    yield from _table(["metric", *comparison.candidates, f"{subject} beside {base}"], rows)
    yield ""
    for distance in saved.distances:
        value = distance.why or f"{distance.value:.4g} [{distance.low:.4g}, {distance.high:.4g}]"
        yield f"- {markdown(distance.metric)}, {markdown(distance.candidate)}, {distance.n} clips: {markdown(value)}"
    if saved.judge and not saved.judge.fates.get("answered"):
        yield f"- the judge judged nothing: {markdown('; '.join(saved.judge.faults) or 'no answer could be read')}"
    for name, why in saved.no_distances.items():
        yield f"- {markdown(name)}: not run: {markdown(why)}"
    for name, why in comparison.not_run.items():
        yield f"- {markdown(MEASURES[name].label)}: not run: {markdown(why)}"


def _worst(saved: SavedReport) -> Iterator[str]:
    subject, base = saved.verdict_subject, saved.comparison.reference_candidate
    rows = saved.comparison.worst_first(subject, saved.comparison.headline.cases)
    names = [name for name in saved.comparison.candidates if name not in CONTROLS]
    table = [
        [
            row.name,
            row.prompt,
            f"{signed(row.gain_db(subject, base))} dB",
            *(f"{row.scores[name].psnr_db:.1f}" for name in names),
        ]
        for row in rows[:WORST]
    ]
    yield from _table(["clip", "prompt", f"over {base}", *(f"PSNR {name}" for name in names)], table)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(map(markdown, heads)) + " |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield "| " + " | ".join(map(markdown, row)) + " |"
