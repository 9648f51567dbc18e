"""`worldtune registry`: which adapter is live, what it was made from, who approved it, and rollback."""

from typing import Annotated

import typer

from worldtune.cli.registry.decisions import approve, evaluate, promote, revocations, revoke, rollback
from worldtune.cli.registry.exchange import audit, export, import_, mirror, pin, pull, push, verify
from worldtune.cli.registry.options import IGNORE_CACHE
from worldtune.cli.registry.people import clock, enroll, expect, init, join, key, people, policy, retire
from worldtune.cli.registry.releases import add, derive, label, lineage, show
from worldtune.cli.registry.releases import list_ as list_all
from worldtune.cli.terminal.output import echo_text


def registry(
    context: typer.Context,
    ignore_cache: Annotated[
        bool, typer.Option("--verify", help="Verify every event again, ignoring this machine's cache.")
    ] = False,
) -> None:
    """Keep adapters under control: names, lineage, evidence, approval, rollback.

    Wherever a command takes an adapter's path, name a release: cell7/front/pick@production, …@12 or …@sha256:….

    Example:

        worldtune registry init --person ann
        worldtune registry add cell7/front/pick runs/pocket-new-view
        worldtune registry promote cell7/front/pick@1 staging
        worldtune generate --adapter cell7/front/pick@staging --prompt "pick the cube" --input scene.png
    """
    IGNORE_CACHE.set(ignore_cache)
    if context.invoked_subcommand is None:
        echo_text(context.get_help())


PARTS = {
    "init": init, "join": join, "key": key, "enroll": enroll, "retire": retire, "people": people, "clock": clock,
    "policy": policy, "expect": expect, "add": add, "label": label, "list": list_all, "show": show, "lineage": lineage,
    "derive": derive, "evaluate": evaluate, "approve": approve, "promote": promote, "rollback": rollback,
    "revoke": revoke, "revocations": revocations, "verify": verify, "audit": audit, "pin": pin,
    "export": export, "import": import_,
    "push": push, "pull": pull, "mirror": mirror,
}  # fmt: skip
