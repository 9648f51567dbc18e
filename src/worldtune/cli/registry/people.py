"""`worldtune registry`: the commands that set up and administer a registry: location, keys, roles, policy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from worldtune.cli.registry.options import (
    AsJson,
    Key,
    Place,
    Reason,
    already_done,
    event_json,
    line_of,
    open_log,
    print_event,
    signer_of,
)
from worldtune.cli.terminal.output import echo, echo_json, echo_text
from worldtune.errors import RegistryError, did_you_mean

if TYPE_CHECKING:
    from worldtune.registry.events.events import KeyRetired, Role
    from worldtune.registry.log.event_log import Event
    from worldtune.registry.registry import Registry

PublicKey = Annotated[Path, typer.Argument(help="The .pub file that `registry key` wrote.")]


def init(
    person: Annotated[str | None, typer.Option(help="Your name there; default: your account's name.")] = None,
    database: Annotated[str | None, typer.Option(help="postgresql+psycopg://USER@HOST/NAME; default: SQLite.")] = None,
    store: Annotated[str | None, typer.Option(help="The blob store: s3://BUCKET/PATH; default: the folder.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Create a registry with you as its first administrator; by default it is files in a folder, without a server.

    A key is created if you have none.

    Example:

        worldtune registry init --person ann
    """
    from worldtune.registry.facade import Registry

    registry = Registry.create(place, person=person, database=database, store=store, key=key)
    config, folder, path = registry.log.config, registry.log.folder, registry.key
    if as_json:
        echo_json({"folder": str(folder), **config.model_dump(), "key": str(path)})
        return
    echo(f"registry  {folder}")
    echo(f"key       {path}: keep it secret, and keep a copy")
    echo(f"founder   {config.founder}  (other machines need this to join)")


def join(
    founder: Annotated[str, typer.Argument(help="The founder's key id, printed by `registry init`.")],
    database: Annotated[str, typer.Option(help="The registry's database.")],
    store: Annotated[str, typer.Option(help="The registry's blob store.")],
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Join a registry that another machine created.

    Example:

        worldtune registry join 3f9c0a71b2d4 --database postgresql+psycopg://ann@db/worldtune --store s3://team/adapters
    """
    from worldtune.registry.facade import Registry

    log = Registry.join(founder, database, store, folder=place).log
    echo_json({"folder": str(log.folder), **log.config.model_dump()}) if as_json else echo(f"registry  {log.folder}")


def key(
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The new file; default: your own key's path.")] = None,
    kind: Annotated[str, typer.Option(help="ed25519 or ecdsa-p256.")] = "ed25519",
    as_json: AsJson = False,
) -> None:
    """Create a signing key. It is encrypted if WORLDTUNE_KEY_PASSWORD is set.

    Example:

        worldtune registry key
    """
    from worldtune.registry.signing.keys import KeyType, default_key_path, generate_key, public_key_path

    if kind not in get_args(KeyType):
        raise RegistryError(
            f"{kind!r} is not a key type", where="--kind", hint=f"Use one of {', '.join(get_args(KeyType))}."
        )
    path = out or default_key_path()
    signer = generate_key(path, cast("KeyType", kind))
    if as_json:
        echo_json({"key": str(path), "public": str(public_key_path(path)), "id": signer.public_key.keyid})
        return
    echo(f"key     {path}: keep it secret")
    echo(f"public  {public_key_path(path)}: give this to an administrator")
    echo(f"id      {signer.public_key.keyid}")


def enroll(
    person: Annotated[str, typer.Argument(help="The person's name.")],
    public: PublicKey,
    role: Annotated[list[str], typer.Option(help="submitter, evaluator, approver or admin; repeatable.")],
    expires: Annotated[
        str | None, typer.Option(help="How long the key is valid: 365d, 12w, 8h (default: no expiry).")
    ] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Enroll a person's key, so that it may sign in some roles.

    Example:

        worldtune registry enroll bob bob.pem.pub --role evaluator --role approver --expires 365d
    """
    from worldtune.registry.events.events import ROLES
    from worldtune.registry.governance.admin import enroll as write

    for name in role:
        if name not in ROLES:
            hint = did_you_mean(name, ROLES, f"Use one of {', '.join(ROLES)}.")
            raise RegistryError(f"there is no role {name!r}", where="--role", hint=hint)
    roles = cast("tuple[Role, ...]", tuple(dict.fromkeys(role)))
    print_event(write(open_log(place), signer_of(key), person, public, roles, expires), as_json)


def retire(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="The key's id, or its first 8 digits or more.")],
    reason: Reason,
    stolen: Annotated[
        bool, typer.Option(help="Also void what the key ever signed, except revocations and withdrawals.")
    ] = False,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Retire a key, so that it can no longer sign. With --stolen, list what is now void and the keys that it enrolled.

    Example:

        worldtune registry retire 3f9c0a71b2d4 --reason "ann left"
    """
    from worldtune.registry.governance.admin import retire_key as write

    registry = open_log(place)
    event = write(registry, signer_of(key), key_id, reason, stolen=stolen)
    print_event(event, as_json)
    if stolen:
        with already_done():
            _print_theft_effects(registry, event)


def _print_theft_effects(registry: "Registry", event: "Event[KeyRetired]") -> None:
    """Print what a stolen key signed that is void or stays valid, and the keys that it enrolled."""
    from worldtune.registry.log.permissions import REVOKING
    from worldtune.registry.log.state import sequence_key as key_of

    with registry.history() as (state, history):
        enrolled = [identity for identity in state.identities.values()
                    if identity.added_by == event.fact.key and identity.retired is None]  # fmt: skip
        voided = {past.sequence for past in history
                if (why := state.ignored.get(key_of(past.sequence))) and why.since == event.sequence}  # fmt: skip
        valid = {past.sequence for past in history if past.key == event.fact.key and isinstance(past.fact, REVOKING)}
    for past in history:
        if past.sequence in voided | valid:
            effect = "now void" if past.sequence in voided else "stays valid"
            echo(f"note: {effect}: {past.fact.summary}", err=True)
    for identity in enrolled:
        note = f"note: it enrolled {identity.key[:12]} of {identity.person}, which may sign until it is retired too"
        echo(note, err=True)


def clock(reason: Reason, place: Place = None, key: Key = None, as_json: AsJson = False) -> None:
    """Set the log back to this machine's clock, after another machine wrote with a clock that was ahead.

    Only an administrator can do this.

    Example:

        worldtune registry clock --reason "cell 7 thought it was 2031; corrected on Friday"
    """
    from worldtune.registry.governance.admin import set_clock

    print_event(set_clock(open_log(place), signer_of(key), reason), as_json)


def people(place: Place = None, as_json: AsJson = False) -> None:
    """List the enrolled keys and their roles.

    Example:

        worldtune registry people
    """
    with open_log(place).view() as state:
        identities = sorted(state.identities.values(), key=lambda identity: identity.since)
    if as_json:
        echo_json(
            [{"person": who.person, "key": who.key, "roles": who.roles, "since": who.since,
              "expires": who.expires, "retired": who.retired, "stolen": who.stolen} for who in identities]
        )  # fmt: skip
        return
    for who in identities:
        status = "stolen" if who.stolen else f"retired {(who.retired_at or '')[:10]}" if who.retired else ""
        until = f"until {who.expires[:10]}" if who.expires else ""
        echo(f"{who.person:<16}{who.key[:12]}  {', '.join(who.roles)}  {status or until}".rstrip())


def policy(
    file: Annotated[
        Path | None, typer.Argument(help="The new policy file; without it, print the current policy.")
    ] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print the promotion policy, or set a new one. Approvals under the old policy must be given again.

    Example:

        worldtune registry policy policy.yaml
    """
    import yaml

    from worldtune.registry.governance.admin import set_policy
    from worldtune.registry.log.release_status import current_policy
    from worldtune.registry.policy import read_policy

    if file is not None:
        print_event(set_policy(open_log(place), signer_of(key), read_policy(file)), as_json)
        return
    with open_log(place).view() as state:
        found = current_policy(state)
    content = found.model_dump(mode="json")
    if as_json:
        echo_json({"policy": found.digest, **content})
    else:
        echo_text(f"# {found.digest}\n{yaml.safe_dump(content, sort_keys=False)}".rstrip())


def expect(
    scope: Annotated[str | None, typer.Argument(help="A name or its first parts, such as cell7; * for all.")] = None,
    what: Annotated[str | None, typer.Argument(help="base, suite, gates or calibration.")] = None,
    digest: Annotated[str | None, typer.Argument(help="Its digest, or the calibration or gates file.")] = None,
    reason: Annotated[str | None, typer.Option(parser=line_of, help="The reason; stored permanently.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Set the expected base, suite, gates or camera calibration, so that other releases become stale.

    Without arguments, list the expectations.

    Example:

        worldtune registry expect cell7/front calibration front.yaml --reason "the camera was moved"
    """
    from worldtune.registry.governance.admin import set_expectation as write

    if scope is None:
        with open_log(place).view() as state:
            found = sorted(state.expected.values(), key=lambda event: event.sequence)
        if as_json:
            echo_json([event_json(event) for event in found])
            return
        for event in found:
            echo(f"{event.at[:10]}  {event.actor:<12}  {event.fact.summary}")
        return
    if what is None or digest is None or reason is None:
        hint = 'Use expect cell7/front calibration front.yaml --reason "the camera was moved".'
        raise RegistryError("the requirement, its digest or the reason is missing", where="expect", hint=hint)
    print_event(write(open_log(place), signer_of(key), scope, what, digest, reason), as_json)
