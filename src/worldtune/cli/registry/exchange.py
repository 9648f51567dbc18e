"""`worldtune registry`: the commands that verify the registry and exchange releases with other sites and tools."""

from pathlib import Path
from typing import Annotated

import typer

from worldtune.cli.registry.options import (
    AsJson,
    Key,
    Place,
    Reference,
    already_done,
    event_json,
    open_log,
    print_base_revocation_effects,
    print_event,
    print_revocation_effects,
    registry_at,
    signer_of,
)  # fmt: skip
from worldtune.cli.terminal.output import echo, echo_json
from worldtune.errors import RegistryError

UNSOUND = 3


def verify(place: Place = None, as_json: AsJson = False) -> None:
    """Verify everything from the first event: signatures, rules, bytes. Exit code 3 if anything is wrong.

    Example:

        worldtune registry verify
    """
    from worldtune.cli.terminal.progress import bars

    with bars() as progress:
        found = registry_at(place).verify(progress)
    if as_json:
        echo_json({"valid": found.is_valid, "events": found.events, "releases": found.releases, "blobs": found.blobs,
                  "unreferenced_blobs": found.unreferenced, "head": found.head.hash, "faults": found.faults,
                  "voided": found.voided})  # fmt: skip
    else:
        for fault in found.faults:
            echo(f"FAULT: {fault}")
        for voided in found.voided:
            echo(f"void because a key was stolen: {voided}")
        echo(f"events {found.events}, releases {found.releases}, blobs {found.blobs}; head {found.head.hash}")
        if found.unreferenced:
            echo(f"{found.unreferenced} unreferenced blobs: left by an interrupted command, harmless")
        echo("no faults" if found.is_valid else f"{len(found.faults)} faults")
    if not found.is_valid:
        raise typer.Exit(UNSOUND)


def audit(
    name: Annotated[str | None, typer.Argument(help="Print the events of this adapter only.")] = None,
    head: Annotated[Path | None, typer.Option(help="Write a signed head to this file, to store elsewhere.")] = None,
    against: Annotated[Path | None, typer.Option(help="Compare the log with this signed head.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Print every event: when, who, what. With --head, sign the newest event; with --against, compare with such a file.

    Example:

        worldtune registry audit cell7/front/pick
        worldtune registry audit --head /mnt/elsewhere/head.json
    """
    from worldtune.registry.exchange.signed_checkpoint import check_signed_head, write_signed_head
    from worldtune.registry.log.state import sequence_key as key_of
    from worldtune.registry.releases.listing import get_adapter

    registry = open_log(place)
    if head is not None or against is not None:
        found = (
            write_signed_head(registry, signer_of(key), head)
            if head
            else check_signed_head(registry, against or Path())
        )
        if as_json:
            echo_json({"sequence": found.sequence, "hash": found.hash, "at": found.at})
        else:
            result = f"signed: {head}" if head else "the log contains this head"
            echo(f"{result}  (event {found.sequence} of {found.at}, {found.hash[:12]})")
        return
    with registry.history() as (state, history):
        if name is not None:
            get_adapter(state, name)
        events = [event for event in history if name is None or getattr(event.fact, "adapter", None) == name]
        why = {event.sequence: lost.why for event in events if (lost := state.ignored.get(key_of(event.sequence)))}
    if as_json:
        echo_json([event_json(event) | {"no_effect": why.get(event.sequence)} for event in events])
        return
    for event in events:
        summary = (
            f"NO EFFECT: {event.fact.summary} ({why[event.sequence]})" if event.sequence in why else event.fact.summary
        )
        echo(f"{event.sequence:>5}  {event.at[:19].replace('T', ' ')}  {event.actor:<12}  {summary}")


def pin(
    head: Annotated[Path, typer.Argument(help="A signed head that `registry audit --head` wrote.")],
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Make this machine reject any log without this signed head.

    Example:

        worldtune registry pin /mnt/elsewhere/head.json
    """
    from worldtune.registry.exchange.signed_checkpoint import pin_signed_head

    found = pin_signed_head(open_log(place), head)
    if as_json:
        echo_json(found.model_dump())
    else:
        echo(f"pinned: event {found.sequence} of {found.at}, {found.hash[:12]}, as {found.actor} signed it")


def export(
    reference: Reference,
    out: Annotated[Path, typer.Option("-o", "--out", help="A new .tar file.")],
    openssf: Annotated[bool, typer.Option("--openssf", help="Also sign its files with OpenSSF model signing.")] = False,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Write a release with its evidence and approvals to a tar file, for a site without this network.

    A folder beside the tar holds the model card, the bill of materials (CycloneDX) and the provenance (SLSA).

    Example:

        worldtune registry export cell7/front/pick@12 -o pick-12.tar
    """
    from worldtune.registry.exchange.oci_bundle import export_release as write
    from worldtune.registry.exchange.openssf import SIGNATURE_FILE, check_can_sign, sign_release
    from worldtune.registry.exchange.release_documents import write_documents
    from worldtune.registry.signing.keys import default_key_path

    if out.suffix != ".tar":
        raise RegistryError("the output is not a .tar file", where=str(out), hint="Use --out pick-12.tar.")
    for path in (out, out.with_suffix("")):
        if path.exists():
            raise RegistryError("the path already exists", where=str(path), hint="Choose another file with --out.")
    registry = open_log(place)
    if openssf:
        check_can_sign(key or default_key_path())
    sha256 = write(registry, reference, out)
    documents = write_documents(registry, reference, out.with_suffix(""))
    if openssf:
        documents.append(out.with_suffix("") / SIGNATURE_FILE)
        sign_release(registry, reference, key or default_key_path(), documents[-1])
    if as_json:
        echo_json({"file": str(out), "sha256": sha256, "documents": [str(path) for path in documents]})
        return
    echo(f"{out}  sha256 {sha256}")
    for path in documents:
        echo(path)


def import_(
    source: Annotated[Path, typer.Argument(help="A .tar of `registry export`, or a .json of `registry revocations`.")],
    name: Annotated[str | None, typer.Option(help="The adapter's name here; default: its own.")] = None,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Import a release or revocations from another site, and verify everything.

    Approvals and revocations count only if their signers are enrolled here in the required role. Exit code 3 if a
    revocation does not count.

    Example:

        worldtune registry import pick-12.tar
        worldtune registry import revoked.json
    """
    from worldtune.registry.exchange.import_release import import_release

    if source.suffix.lower() == ".json":
        if name is not None:
            hint = "Omit --name: revocations apply to bytes, under any name."
            raise RegistryError("revocations have no name", where="--name", hint=hint)
        _import_revocations(source, place, key, as_json)
        return
    found = import_release(open_log(place), signer_of(key), source, name)
    if as_json:
        echo_json({"release": event_json(found.release), "accepted": [event_json(event) for event in found.accepted],
                  "rejected": list(found.rejected)})  # fmt: skip
        return
    print_event(found.release, False)
    for event in found.accepted:
        echo(f"counts: {event.fact.summary}")
    for why in found.rejected:
        echo(f"does not count: {why}")


def _import_revocations(source: Path, place: Path | None, key: Path | None, as_json: bool) -> None:
    from worldtune.registry.events.events import ReleaseRevoked
    from worldtune.registry.exchange.revocations import import_revocations

    registry = open_log(place)
    found = import_revocations(registry, signer_of(key), source)
    if as_json:
        echo_json({"revoked": [event_json(event) for event in found.revoked], "rejected": list(found.rejected)})
    else:
        for event in found.revoked:
            echo(event.fact.summary)
        for why in found.rejected:
            echo(f"DOES NOT APPLY here: {why}")
        if not found.revoked and not found.rejected:
            echo("no new revocations")
    with already_done():
        for event in found.revoked:
            if isinstance(event.fact, ReleaseRevoked):
                print_revocation_effects(registry, event.fact.digest)
            else:
                print_base_revocation_effects(registry, event.fact.base)
    if found.rejected:
        raise typer.Exit(UNSOUND)


def push(
    reference: Reference,
    repo: Annotated[str, typer.Argument(help="A repository of the Hugging Face Hub: USER/NAME.")],
    private: Annotated[bool, typer.Option(help="If the repository is new, make it private.")] = True,
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Push a release with its model card to the Hugging Face Hub as one commit, and record the commit in the log.

    Example:

        worldtune registry push cell7/front/pick@12 team/so101-pick
    """
    from worldtune.registry.exchange.hub import push_release as put

    print_event(put(open_log(place), signer_of(key), reference, repo, private=private), as_json)


def pull(
    name: Annotated[str, typer.Argument(help="The adapter's name here.")],
    source: Annotated[str, typer.Argument(help="USER/NAME@COMMIT, all 40 digits of the commit.")],
    place: Place = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Pull an adapter from the Hugging Face Hub at a commit, and make it the next release of a name.

    Example:

        worldtune registry pull cell7/front/pick team/so101-pick@0123456789abcdef0123456789abcdef01234567
    """
    from worldtune.registry.exchange.hub import pull_release as take

    print_event(take(open_log(place), signer_of(key), name, source), as_json)


def mirror(
    uri: Annotated[str, typer.Argument(help="An MLflow server: http://HOST:PORT.")],
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 3 if MLflow differs.")] = False,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Mirror releases and channels to MLflow, one way. Differences there are reported and fixed.

    Example:

        worldtune registry mirror http://mlflow:5000
    """
    from worldtune.registry.exchange.mlflow_mirror import reconcile

    drift = reconcile(open_log(place), uri, fix=not check)
    if as_json:
        echo_json([{"what": item.what, "where": item.where, "fixed": item.fixed} for item in drift])
    else:
        for item in drift:
            echo(f"{'fixed' if item.fixed else 'DRIFT'}: {item.where}: {item.what}")
        echo(f"{len(drift)} differences" if drift else "MLflow matches the registry")
    if check and drift:
        raise typer.Exit(UNSOUND)
