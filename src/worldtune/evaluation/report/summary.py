"""The summary of an evaluation in Markdown, for a pull request: verdict, gates, metrics, and the worst clips."""

from collections.abc import Iterator, Sequence

from worldtune.core.safe_text import markdown, one_line
from worldtune.evaluation.comparison.gates import describe_outcome
from worldtune.evaluation.report.saved_report import SavedReport
from worldtune.evaluation.report.verdict import interval, remarks, signed, verdict
from worldtune.evaluation.report.votes import preference, shares
from worldtune.evaluation.results import CONTROLS, Group
from worldtune.evaluation.scoring.metric_definitions import METRICS

WORST = 5
SIGNS = {"pass": "✓ pass", "fail": "✗ fail", "not enough evidence": "? not enough evidence", "does not apply": "–"}


def summary(saved: SavedReport) -> str:
    """Return the Markdown text. Text from the data is escaped."""
    return "\n".join(_lines(saved)) + "\n"


def _lines(saved: SavedReport) -> Iterator[str]:
    comparison, subject = saved.comparison, saved.verdict_subject
    yield f"# {markdown(saved.title)}"
    yield ""
    headline = verdict(comparison, subject)
    yield f"**{'✗ ' if headline.tone == 'bad' else ''}{markdown(headline.text)}**"
    yield ""
    for remark in remarks(comparison, subject):
        yield f"- {markdown(remark.text)}"
    for note in saved.notes:
        yield f"- {markdown(note)}"
    for candidate, gate_results in saved.gate_results.items():
        yield ""
        yield f"## {markdown(candidate)}: {describe_outcome(saved.policy, gate_results)}"
        yield ""
        yield from _table(
            ["gate", "", "measured"], [[result.gate, SIGNS[result.outcome], result.why] for result in gate_results]
        )
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
    for name, metric in METRICS.items():
        if name in comparison.not_run:
            continue
        cells = []
        for candidate in comparison.candidates:
            mean = group.results[candidate].means[name]
            range_ = interval(mean.low, mean.high, metric.digits)
            n = f" n = {mean.n}" if mean.n < len(group.cases) else ""
            text = "–" if mean.mean is None else f"{mean.mean:.{metric.digits}f} {range_}{n}".strip()
            cells.append(text.replace("-", "−"))
        paired = group.results[subject].against[base].get(name)
        unit = f", {metric.unit}" if metric.unit else ""
        paired_verdict = paired.verdict if paired and paired.n else ""
        rows.append([f"{metric.label}{unit} ({metric.direction})", *cells, paired_verdict])
    if saved.votes:
        vote_shares = shares(comparison, saved.votes)
        cells = [
            f"{vote_shares[name][0]:.2f} of {vote_shares[name][1]}" if name in vote_shares else "–"
            for name in comparison.candidates
        ]
        baseline = saved.blind_baseline
        preferred = preference(comparison, saved.votes, subject, baseline)
        rows.append([f"blind votes ({subject} against {baseline})", *cells, preferred.verdict if preferred else ""])
    yield from _table(["metric", *comparison.candidates, f"{subject} against {base}"], rows)
    yield ""
    for distance in saved.distances:
        value = distance.why or f"{distance.value:.4g} [{distance.low:.4g}, {distance.high:.4g}]"
        yield f"- {markdown(distance.metric)}, {markdown(distance.candidate)}, {distance.n} clips: {markdown(value)}"
    if saved.judge and not saved.judge.statuses.get("answered"):
        yield f"- the judge gave no scores: {markdown('; '.join(saved.judge.faults) or 'no answer could be parsed')}"
    for name, why in saved.no_distances.items():
        yield f"- {markdown(name)}: not run: {markdown(why)}"
    for name, why in comparison.not_run.items():
        yield f"- {markdown(METRICS[name].label)}: not run: {markdown(why)}"


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
