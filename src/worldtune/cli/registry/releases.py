"""`worldtune registry`: the commands that add, list and show releases and their lineage."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worldtune.cli.registry.options import AsJson, Key, Place, event_json, open_log, print_event, registry_at
from worldtune.cli.terminal.output import echo, echo_json
from worldtune.errors import RegistryError

if TYPE_CHECKING:
    from worldtune.registry.log.release_status import ReleaseStatus
    from worldtune.registry.log.state import State
    from worldtune.registry.releases.listing import AdapterSummary

Labels = Annotated[list[str] | None, typer.Option("--label", help="A label, such as robot=so101; repeatable.")]


def add(
    name: Annotated[str, typer.Argument(help="The adapter's name, such as robot/cell/camera/task.")],
    source: Annotated[Path, typer.Argument(help="A run folder or an adapter folder.")],
    calibration: Annotated[
        Path | None, typer.Option(help="The camera calibration file that it was trained under.")
    ] = None,
    parent: Annotated[str | None, typer.Option(help="The release that it was trained from.")] = None,
    labels: Labels = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Make an adapter the next release of a name. Its bytes never change, and its number is never used again.

    A run's recipe, lineage, ledger and list of libraries are stored with it. Identical bytes are the same release.

    Example:

        worldtune registry add cell7/front/pick runs/pocket-new-view --label robot=so101
    """
    registry, label_values = registry_at(place, key), _labels(labels)
    event = registry.add(
        name,
        source,
        calibration=calibration,
        parent=parent,
        labels=label_values,
        tell=lambda text: echo(text, err=True),
    )
    print_event(event, as_json)


def label(
    name: Annotated[str, typer.Argument(help="The adapter's name.")],
    labels: Annotated[list[str], typer.Argument(help="KEY=VALUE to set a label; KEY= to remove it.")],
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Label an adapter, so that it can be found by its labels.

    Example:

        worldtune registry label cell7/front/pick robot=so101 line=3
    """
    print_event(registry_at(place, key).label(name, _labels(labels)), as_json)


def list_(
    labels: Labels = None,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """List adapters: releases, what each channel holds, labels.

    Example:

        worldtune registry list --label robot=so101
    """
    wanted = _labels(labels)
    found = registry_at(place).adapters(wanted)
    if as_json:
        echo_json([asdict(adapter) for adapter in found])
        return
    if not found:
        echo("no adapters with these labels" if wanted else "no adapters yet: worldtune registry add NAME RUN")
    width = max((len(adapter.name) for adapter in found), default=0)
    for adapter in found:
        shown = "  ".join(_channel_text(adapter, channel) for channel in adapter.channels) or "in no channel"
        pairs = " ".join(f"{key}={value}" for key, value in adapter.labels.items())
        echo(f"{adapter.name:<{width}}  newest {adapter.newest:<4} {shown}  {pairs}".rstrip())
        for channel in adapter.break_glass:
            echo(f"{'':<{width}}  BREAK-GLASS: @{channel} holds a release that nobody approved")


def show(
    what: Annotated[str, typer.Argument(help="An adapter's name, or a release.")],
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Show an adapter's releases and channels, or one release with its evidence, its approvals and what it lacks.

    Example:

        worldtune registry show cell7/front/pick@production
    """
    with open_log(place).view() as state:
        content = _release(state, what) if "@" in what else _adapter(state, what)
    if as_json:
        echo_json(content)
        return
    for line in content["lines"]:
        echo(line)


def lineage(
    reference: Annotated[str, typer.Argument(help="A release, or data made with one: its path or its digest.")],
    draw: Annotated[Path | None, typer.Option(help="Draw the graph to a .svg, .mmd or .md file.")] = None,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Show what a release was made from, and what was made with it: episodes, datasets, policies.

    Example:

        worldtune registry lineage cell7/front/pick@12 --draw lineage.svg
    """
    from worldtune.core.files import atomic_file
    from worldtune.registry.releases.lineage import build_lineage as read
    from worldtune.registry.releases.lineage_graph import lines, render_markdown, render_mermaid, render_svg

    graph = read(open_log(place), reference)
    if draw is not None:
        kinds = {".svg": render_svg, ".mmd": render_mermaid, ".md": render_markdown}
        if draw.suffix not in kinds:
            what = f"{draw.suffix or 'a file without a suffix'} is not a supported drawing format"
            raise RegistryError(what, where=str(draw), hint=f"Use one of {', '.join(kinds)}.")
        with atomic_file(draw) as partial:
            partial.write_text(kinds[draw.suffix](graph), encoding="utf-8")
    if as_json:
        nodes = [{"key": key, "kind": node.kind, "name": node.name, "digest": node.digest, "facts": node.facts}
                 for key, node in graph.nodes.items()]  # fmt: skip
        echo_json({"center": graph.center, "nodes": nodes, "edges": [list(edge) for edge in graph.edges]})
        return
    for line in lines(graph):
        echo(line)


def derive(
    kind: Annotated[str, typer.Argument(help="episodes, dataset or policy.")],
    path: Annotated[Path, typer.Argument(help="The file or folder that was made.")],
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--from", help="A release it was made with, or data made with one (default: what the data states)."
        ),
    ] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Record what was made with a release, so that an adapter's data can be found and withdrawn.

    Dreams and the datasets exported from them state which adapters made them; name the releases of other data.

    Example:

        worldtune registry derive episodes dreams/pick
        worldtune registry derive policy policies/pick --from cell7/front/pick@12
    """
    print_event(registry_at(place, key).derive(kind, path, source or ()), as_json)


def _channel_text(adapter: "AdapterSummary", channel: str) -> str:
    return f"@{channel} {adapter.channels[channel]}{' REVOKED' if channel in adapter.revoked else ''}"


def _labels(texts: list[str] | None) -> dict[str, str]:
    labels = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not equals or not name or not text.isprintable():
            raise RegistryError(f"{text!r} is not a label", where="--label", hint="Use KEY=VALUE, such as robot=so101.")
        labels[name] = value
    return labels


def _adapter(state: "State", name: str) -> dict[str, Any]:
    from worldtune.registry.log.resolve import find_revocation, list_moves, list_releases
    from worldtune.registry.releases.listing import get_adapter

    adapter = get_adapter(state, name)
    releases = list_releases(state, name)
    moves = sorted((move.event for channel in adapter.channels for move in list_moves(state, name, channel)),
                   key=lambda event: event.sequence)  # fmt: skip
    lines = [f"{name}  {' '.join(f'{key}={value}' for key, value in adapter.labels.items())}".rstrip()]
    for release in (event.fact for event in releases):
        names = " ".join(f"@{channel}" for channel, number in adapter.channels.items() if number == release.number)
        status = f"{names} {'REVOKED' if find_revocation(state, release) else ''}".strip()
        made = f"by {release.author}, for {release.base_name}"
        lines.append(f"  {release.number:>4}  {release.digest[:12]}  {made}  {status}".rstrip())
    lines += [
        f"  @{move.fact.channel} generation {move.fact.generation}: {move.fact.number}, {move.at[:10]} by {move.actor} "
        f"({move.fact.action.upper() if move.fact.expires else move.fact.action})"
        f"{f': {move.fact.reason}' if move.fact.reason else ''}"
        for move in moves
    ]
    return {"adapter": name, "labels": adapter.labels, "channels": adapter.channels,
            "releases": [event_json(event) for event in releases],
            "moves": [event_json(move) for move in moves], "lines": lines}  # fmt: skip


def _release(state: "State", text: str) -> dict[str, Any]:
    from worldtune.registry.clock import next_event_time
    from worldtune.registry.log.release_status import approval_key, release_status
    from worldtune.registry.log.resolve import channels, describe_revocation, find_release

    found = find_release(state, text)
    release, at = found.release.fact, next_event_time(state.clock)
    newest = {channel: move.event.fact for channel, move in channels(state, release.adapter).items()}
    current = [channel for channel, move in newest.items() if move.number == release.number]
    break_glass = [newest[name] for name in current if newest[name].action == "break-glass"]
    overall = release_status(state, release, None, at)
    named = [name for name in overall.policy.channels if name != "*"]
    approved = [key.rpartition("@")[2] for key, _ in state.approvals.items(approval_key(release, ""))]
    relevant = dict.fromkeys([*named, *current, *approved])
    shown = [found.reference.value] if found.reference.by == "channel" else list(relevant)
    by_channel = {channel: release_status(state, release, channel, at) for channel in shown}
    stale = dict.fromkeys(reason for status in (overall, *by_channel.values()) for reason in status.stale)
    origin = f", from {release.origin}" if release.origin else ""
    lines = [
        f"{release.name}  {release.digest}",
        f"by        {release.author}, {found.release.at[:16].replace('T', ' ')}{origin}",
        f"base      {release.base_name}  {release.base[:12]}",
        f"channels  {', '.join(f'@{name}' for name in current) or 'none'}",
        *(f"BREAK-GLASS @{move.channel} until {(move.expires or '')[:16]}: {move.reason}" for move in break_glass),
        *([f"REVOKED   {describe_revocation(release, overall.revoked)}"] if overall.revoked else []),
        *_evidence_lines(overall),
        *(f"stale     {reason}" for reason in stale),
        *(line for channel, status in by_channel.items() for line in _channel_lines(status, channel)),
    ]
    return {
        "release": event_json(found.release), "channels": current,
        "revoked": overall.revoked and event_json(overall.revoked),
        "evidence": overall.evidence and event_json(overall.evidence), "stale": list(stale),
        "not_counted": list(overall.not_counted),
        "for_channel": {channel: {"approvals": [event_json(event) for event in status.approvals],
                                  "not_counted": list(status.not_counted)}
                        for channel, status in by_channel.items()}, "lines": lines,
    }  # fmt: skip


def _evidence_lines(status: "ReleaseStatus") -> list[str]:
    if status.evidence is None:
        return []
    evaluation = status.evidence.fact
    return [f"evidence  {evaluation.outcome}, by {evaluation.person}, suite {evaluation.suite[:12]}"]


def _channel_lines(status: "ReleaseStatus", channel: str) -> list[str]:
    rule = status.policy.rule_for(channel)
    lines = [f"approved  for {channel} by {event.fact.person}: {event.fact.reason}" for event in status.approvals]
    required = (*(["evidence"] if rule.evidence else []), *(["approval"] if rule.approvals else []))
    lines += [f"lacks     for {channel}: {reason}" for reason in status.not_counted if reason.startswith(required)]
    missing = rule.approvals - len(status.approvals)
    more = f"{missing} more approval{'s' if missing > 1 else ''}"
    return [*lines, f"lacks     for {channel}: {more}"] if missing > 0 else lines
