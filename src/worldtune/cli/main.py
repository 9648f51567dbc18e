"""`worldtune`: finds the verb, imports that verb's file alone, and says what went wrong in one line.

A verb NAME is the function NAME in `worldtune/cli/NAME.py`; its docstring is its help page, printed as it is
written. To add one: write the file, and its name and the docstring's first line into `VERBS`.

Exit codes: 0 done, 2 something the user can mend, 130 interrupted (143 by SIGTERM, 129 by SIGHUP), 1 our fault.
"""

import os
import sys
import traceback
import warnings
from importlib import import_module
from types import TracebackType
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from worldtune import __version__
from worldtune.cli.output import WRITTEN, echo, echo_fault, echo_text
from worldtune.cli.signals import CTRL_C, ending_as_ctrl_c_does, exit_code, is_stopped
from worldtune.core.safe_text import one_line
from worldtune.errors import UserError, did_you_mean

INTERRUPTED = CTRL_C
UNSURE = 3  # something went wrong after the registry was written to
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
INTERRUPTION = "interrupted: nothing is left half-written"

VERBS: dict[str, dict[str, str]] = {
    "Start here": {
        "demo": "Tune the pocket world to a new camera and a new task, and show that it helped.",
        "doctor": "Say whether this machine and this installation can do the work.",
        "bases": "List the base models worldtune knows.",
        "plan": "Say how much memory and time training or a video will need, and what makes it fit a card.",
        "recipes": "List the ready recipes, or print one.",
    },
    "Data": {
        "inspect": "Say what a dataset really holds.",
        "check": "Say which clips of a dataset a recipe would use, and why not the others.",
        "caption": "Write captions of a dataset's recordings, for people to look through.",
        "encode": "Encode clips and prompts into the latent store.",
    },
    "Adapter": {
        "train": "Train an adapter from a recipe.",
        "generate": "Generate videos from a request file or from options.",
        "evaluate": "Compare the base, adapters and other candidates on held-out clips.",
        "adapter": "Show, convert, merge, blend and compare adapters.",
        "report": "Draw an evaluation's HTML report again, from its results.json and the videos beside it.",
    },
    "Registry": {
        "registry": "Keep adapters under control: names, lineage, evidence, approval, rollback.",
    },
    "Figures": {
        "bench": "Measure a part of worldtune and print its figures.",
    },
}


class Verb(TyperCommand):
    """A command whose help page is its docstring, line for line, so that examples stay as written."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Every key=value after --grid belongs to it."""
        if "--grid" in args:
            first = args.index("--grid") + 2
            more = first
            while more < len(args) and "=" in args[more] and not args[more].startswith("-"):
                more += 1
            args = [*args[:first], *(part for item in args[first:more] for part in ("--grid", item)), *args[more:]]
        return super().parse_args(ctx, args)

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        formatter.write_paragraph()
        for line in (self.help or "").splitlines():
            formatter.write(f"  {line}".rstrip() + "\n")


class VerbWithParts(TyperGroup):
    """A verb that does something by itself and has verbs of its own, as `bases` and `bases convert`."""

    format_help_text = Verb.format_help_text

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, _known_name(args, self.list_commands(ctx), ctx.command_path))


class Verbs(TyperGroup):
    """The verbs by section; the help page needs no verb's file."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [name for section in VERBS.values() for name in section]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return load_verb(cmd_name) if cmd_name in self.list_commands(ctx) else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, _known_name(args, self.list_commands(ctx), "worldtune"))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for section, verbs in VERBS.items():
            with formatter.section(section):
                formatter.write_dl([(name.ljust(8), line) for name, line in verbs.items()])

    def invoke(self, ctx: Any) -> None:
        super().invoke(ctx)  # a verb's return value is not an exit code


def _known_name(args: list[str], known: list[str], where: str) -> list[str]:
    """`args`, when they begin with a verb. Raises UserError, which names the nearest one, otherwise."""
    if args[0] not in known and not args[0].startswith("-"):
        mend = did_you_mean(args[0], known, f"The verbs are {', '.join(known)}.")
        raise UserError(f"no such verb: '{args[0]}'", where=where, mend=mend)
    return args


def load_verb(name: str) -> TyperCommand | TyperGroup:
    """The command of the function `name` in `worldtune/cli/<name>.py`, imported now.

    Where that file has `PARTS`, a function a name, they are the verb's own verbs.
    """
    module = import_module(f"worldtune.cli.{name}")
    function, parts = getattr(module, name), getattr(module, "PARTS", {})
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    if not parts:
        app.command(name, cls=Verb)(function)
    else:
        app.callback(invoke_without_command=True, cls=VerbWithParts)(function)
        for part, its in parts.items():
            app.command(part, cls=Verb)(its)
    command = get_command(app)
    command.name = name
    assert isinstance(command, TyperCommand | TyperGroup)
    return command


app = typer.Typer(
    cls=Verbs,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def worldtune(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Tune a video world model to one robot, prove that the result helps, ship it with a paper trail."""
    if version:
        echo(f"worldtune {__version__}")
    elif context.invoked_subcommand is None:
        echo_text(context.get_help())


def run(arguments: list[str]) -> int:
    """The exit code of one command line; whatever the user can mend is one line on stderr."""
    WRITTEN.set(False)
    try:
        code = get_command(app).main(arguments, prog_name="worldtune", standalone_mode=False)
    except (UserError, OSError, typer.TyperException, RuntimeError) as error:
        if not is_stopped():
            return _say_fault(error, arguments)
        code = INTERRUPTED  # the fault came of the end: a worker that ended too, a terminal that was closed
    except KeyboardInterrupt:  # where typer does not listen
        code = INTERRUPTED
    if code == INTERRUPTED:
        echo_fault(INTERRUPTION)
        return exit_code()
    return code or 0


def _say_fault(error: Exception, arguments: list[str]) -> int:
    """Print what the user can mend, and return its exit code. Raises `error` when it is our fault."""
    if isinstance(error, UserError):
        return _say(str(error), error.exit_code)
    if isinstance(error, typer.TyperException):
        return _say(_usage(error))
    if isinstance(error, OSError) and error.strerror is not None:
        where = error.filename or "worldtune"
        return _say(f"{error.strerror.lower()} [{where}]. Check the path, its permissions and the disk's space.")
    if type(error).__name__ == "OutOfMemoryError":  # torch's own; it is not imported for the sake of its name
        mend = "Take a smaller size or machine.checkpointing=full or --device cpu; ask `worldtune plan`."
        return _say(f"the GPU has too little memory [{' '.join(arguments[:2])}]. {mend}")
    raise error


def main() -> None:
    """Entry point of the `worldtune` script."""
    sys.excepthook = _our_fault
    warnings.formatwarning = _warning
    for name, value in QUIET.items():  # their bars and reports would stand between our lines
        os.environ.setdefault(name, value)
    with ending_as_ctrl_c_does():
        code = run(sys.argv[1:])
    sys.exit(code)


def _say(message: str, code: int = 2) -> int:
    if WRITTEN.get():
        code, message = UNSURE, f"{message} What the registry wrote before this stays: see worldtune registry audit."
    echo_fault("error: " + " ".join(message.splitlines()))
    return code


def _usage(error: typer.TyperException) -> str:
    """A misused option or argument: what, in which verb, and the nearest option or the help page."""
    context, nearest = getattr(error, "ctx", None), getattr(error, "possibilities", None)
    where = context.command_path if context is not None else "worldtune"
    mend = f"Did you mean '{nearest[0]}'?" if nearest else f"See '{where} --help'."
    what = error.message if nearest else error.format_message()
    return f"{what[:1].lower()}{what[1:].rstrip('.')} [{where}]. {mend}"


def _warning(message: object, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """A library's warning as one line; it may quote a file of somebody else's."""
    return one_line(f"{filename}:{lineno}: {category.__name__}: {message}") + "\n"


def _our_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):  # before the verb began; Python then exits with 130
        echo_fault(INTERRUPTION)
        return
    echo_text("".join(traceback.format_exception(kind, error, trace)), end="", err=True)
    echo_fault(
        f"worldtune {__version__}: this is our fault, not yours. "
        "Please report the lines above with the output of 'worldtune doctor --json'."
    )
