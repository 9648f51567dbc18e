"""`worldtune registry`, the parts that decide: evidence, approval, promotion, rollback, revocation."""

from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.output import echo, echo_json
from worldtune.cli.registry_options import (
    AsJson,
    Key,
    Place,
    Reason,
    Reference,
    already_done,
    facts_of,
    line_of,
    opened,
    say,
    say_what_it_touches,
    say_what_stands_on,
    signer_of,
)
from worldtune.errors import RegistryError

Expires = Annotated[str | None, typer.Option(help="Until when it counts: 90d, 12w, 8h.")]


def evaluate(
    reference: Reference,
    report: Annotated[Path, typer.Argument(help="The report that `worldtune evaluate` wrote of it.")],
    expires: Expires = "90d",
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Attach an evaluation's results to exactly this release: its weights, card and base must be those it judged.

    Example:

        worldtune evaluate runs/a --gates gates.yaml --out report
        worldtune registry evaluate cell7/front/pick@12 report
    """
    from worldtune.registry.clock import span_of
    from worldtune.registry.evidence import VALID, attach

    lasts = span_of(expires) if expires else VALID
    say(attach(opened(place), signer_of(key), reference, report, lasts), as_json)


def approve(
    reference: Reference,
    channel: Annotated[str, typer.Argument(help="The channel it may go to.")],
    reason: Reason,
    expires: Expires = "180d",
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take your approval back.")] = False,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Approve a release for a channel. Nobody approves their own.

    Example:

        worldtune registry approve cell7/front/pick@12 production --reason "reach within 4 mm on 30 clips"
    """
    from worldtune.registry.approval import VALID
    from worldtune.registry.approval import approve as write
    from worldtune.registry.approval import withdraw as take_back
    from worldtune.registry.clock import span_of

    if withdraw:
        say(take_back(opened(place), signer_of(key), reference, channel, reason), as_json)
        return
    lasts = span_of(expires) if expires else VALID
    say(write(opened(place), signer_of(key), reference, channel, reason, lasts), as_json)


def promote(
    reference: Reference,
    channel: Annotated[str, typer.Argument(help="The channel that is to point to it, as production.")],
    generation: Annotated[int | None, typer.Option(help="Only if the channel is at this generation (0: none).")] = None,
    break_glass: Annotated[bool, typer.Option("--break-glass", help="Without evidence and approval; admins.")] = False,
    reason: Annotated[str | None, typer.Option(parser=line_of, help="Why, with --break-glass.")] = None,
    expires: Annotated[str | None, typer.Option(help="For how long, with --break-glass: 8h, 2d.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a channel point to a release, if the policy lets it in: evidence, approvals, nothing stale or revoked.

    Example:

        worldtune registry promote cell7/front/pick@12 production
    """
    from worldtune.registry.clock import span_of
    from worldtune.registry.promotion import BreakGlass
    from worldtune.registry.promotion import promote as write

    if break_glass != (reason is not None) or break_glass != (expires is not None):
        what = "--break-glass, --reason and --expires go together"
        raise RegistryError(what, where="promote", mend='As --break-glass --reason "line 3 is down" --expires 8h.')
    glass = BreakGlass(reason, span_of(expires)) if reason is not None and expires is not None else None
    say(write(opened(place), signer_of(key), reference, channel, generation, glass), as_json)


def rollback(
    reference: Annotated[str, typer.Argument(help="The channel: NAME@CHANNEL.")],
    reason: Reason,
    to: Annotated[int | None, typer.Option(help="To this release; else the newest before the present one.")] = None,
    generation: Annotated[int | None, typer.Option(help="Only if the channel is at this generation.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let a channel point to an earlier release of its own that is still approved. Nothing is evaluated again.

    Example:

        worldtune registry rollback cell7/front/pick@production --reason "the gripper misses"
    """
    from worldtune.registry.promotion import rollback as write

    event, now = write(opened(place), signer_of(key), reference, reason, to, generation)
    say(event, as_json)
    for stale in now.stale:
        echo(f"note: {event.fact.name} is stale: {stale}", err=True)


def revocations(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Write them, signed, to a .json file.")] = None,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """List what is revoked, or write it for other sites, where `registry import` lets it hold for the same bytes.

    Example:

        worldtune registry revocations -o revoked.json
    """
    from worldtune.registry.revocations import revocations_of, write_revocations

    registry = opened(place)
    if out is None:
        with registry.view() as state:
            found = revocations_of(state)
    elif out.suffix != ".json":
        raise RegistryError("revocations are written as a .json file", where=str(out), mend="As --out revoked.json.")
    else:
        found = write_revocations(registry, out)
    if as_json:
        echo_json([facts_of(event) for event in found])
        return
    for event in found:
        echo(f"{event.at[:10]}  {event.actor:<12}  {event.fact.told}")
    if not found:
        echo("nothing is revoked")


def revoke(
    reason: Reason,
    reference: Annotated[
        str | None, typer.Argument(help="A release: NAME@CHANNEL, NAME@NUMBER or NAME@sha256:DIGEST.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Instead: everything that stands on the base of this digest.")
    ] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Let nobody use a release any more, whichever channel points to it; what came of it is listed.

    With --base, let nobody use any release that stands on a base, now or later.

    Example:

        worldtune registry revoke cell7/front/pick@12 --reason "trained on the wrong calibration"
        worldtune registry revoke --base 3f9c0a71b2d4 --reason "its VAE was converted wrongly"
    """
    from worldtune.registry.approval import revoke as write
    from worldtune.registry.approval import revoke_base

    if (reference is None) == (base is None):
        mend = "As revoke cell7/front/pick@12, or revoke --base DIGEST."
        raise RegistryError("name a release or a base", where="revoke", mend=mend)
    registry = opened(place)
    if base is not None:
        event = revoke_base(registry, signer_of(key), base, reason)
        say(event, as_json)
        with already_done():
            say_what_stands_on(registry, event.fact.base)
        return
    revoked = write(registry, signer_of(key), reference or "", reason)
    say(revoked, as_json)
    with already_done():
        say_what_it_touches(registry, revoked.fact.digest)
