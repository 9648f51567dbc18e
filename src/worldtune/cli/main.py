"""`worldtune`: find the verb, import only that verb's file, and report errors in one line.

A verb NAME is the function NAME in `worldtune/cli/NAME.py`; its docstring is its help page, printed line for line. To
add a verb, write the file, and add its name and the docstring's first line to `VERBS`. Verbs about dreams are in
`worldtune/cli/dreams/`.

Exit codes: 0 done, 2 user error, 130 interrupted (143 by SIGTERM, 129 by SIGHUP), 1 a bug in worldtune.
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

from worldtune.cli.terminal.log import showing_log
from worldtune.cli.terminal.output import WRITTEN, echo, echo_fault, echo_text
from worldtune.cli.terminal.signals import CTRL_C, ending_as_ctrl_c_does, exit_code, is_stopped
from worldtune.core.safe_text import one_line
from worldtune.core.version import __version__
from worldtune.errors import UserError, did_you_mean

INTERRUPTED = CTRL_C
UNSURE = 3  # an error after something was written to the registry
QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
INTERRUPTION = "interrupted: nothing is left half-written"

VERBS: dict[str, dict[str, str]] = {
    "Start here": {
        "demo": "Tune the pocket world to a new camera and a new task, and show that it helped.",
        "doctor": "Check whether this machine and this installation can run worldtune.",
        "bases": "List the base models worldtune knows.",
        "plan": "Predict the memory and time of a training run or a video, and the settings that fit a GPU.",
        "recipes": "List the ready recipes, or print one.",
    },
    "Data": {
        "inspect": "Show what a dataset contains.",
        "check": "Show which clips of a dataset a recipe would use, and why others are not used.",
        "caption": "Write captions for a dataset's recordings, for people to review.",
        "encode": "Encode clips and prompts into the latent store.",
    },
    "Adapter": {
        "train": "Train an adapter from a recipe.",
        "generate": "Generate videos from a request file or from options.",
        "evaluate": "Compare the base, adapters and other candidates on held-out clips.",
        "adapter": "Show, convert, merge, blend and compare adapters.",
        "report": "Rebuild an evaluation's HTML report from its results.json and videos.",
    },
    "Dreams": {
        "idm": "Train inverse dynamics, label videos with it, and measure it.",
        "dream": "Make videos with actions from first frames and instructions, and judge them.",
        "policy": "Train small policies on demonstrations and dreams, and measure their success.",
        "dream-study": "Measure whether dreams help a policy, in a simulator.",
    },
    "Registry": {
        "registry": "Keep adapters under control: names, lineage, evidence, approval, rollback.",
    },
    "Benchmarks": {
        "bench": "Run a benchmark and print its results.",
    },
}


class Verb(TyperCommand):
    """A command whose help page is its docstring, line for line."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Parse every key=value after --grid as a value of --grid."""
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
    """A verb with sub-verbs, such as `bases` with `bases convert`.

    If it has a `default_part`, arguments that do not begin with a sub-verb are arguments of that one.
    """

    default_part: str | None = None
    format_help_text = Verb.format_help_text

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Insert the default sub-verb if none is named."""
        if self.default_part and args and args[0] not in (*self.list_commands(ctx), *ctx.help_option_names):
            args = [self.default_part, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, _known_name(args, self.list_commands(ctx), ctx.command_path))


class Verbs(TyperGroup):
    """The verbs by section; the help page imports no verb's file."""

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
    """Return `args`. Raise UserError, which suggests the closest verb, if they do not begin with a known verb."""
    if args[0] not in known and not args[0].startswith("-"):
        hint = did_you_mean(args[0], known, f"Use one of {', '.join(known)}.")
        raise UserError(f"no such verb: '{args[0]}'", where=where, hint=hint)
    return args


def load_verb(name: str) -> TyperCommand | TyperGroup:
    """Import a verb's file and return the command of its function `name`; a hyphen is an underscore there.

    If that file has `PARTS`, a mapping from names to functions, they become sub-verbs; `DEFAULT_PART` names the one
    that may be omitted.
    """
    identifier = name.replace("-", "_")
    package = "worldtune.cli.dreams" if name in VERBS["Dreams"] else "worldtune.cli"
    module = import_module(f"{package}.{identifier}")
    function, parts = getattr(module, identifier), getattr(module, "PARTS", {})
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    if not parts:
        app.command(name, cls=Verb)(function)
    else:
        app.callback(invoke_without_command=True, cls=VerbWithParts)(function)
        for part, part_function in parts.items():
            app.command(part, cls=Verb)(part_function)
    command = get_command(app)
    command.name = name
    if isinstance(command, VerbWithParts):
        command.default_part = getattr(module, "DEFAULT_PART", None)
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
    """Tune a video world model to one robot, prove that it helps, and ship it with a paper trail."""
    if version:
        echo(f"worldtune {__version__}")
    elif context.invoked_subcommand is None:
        echo_text(context.get_help())


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; a user error is one line on stderr."""
    WRITTEN.set(False)
    try:
        with showing_log():
            code = get_command(app).main(arguments, prog_name="worldtune", standalone_mode=False)
    except (UserError, OSError, typer.TyperException, RuntimeError) as error:
        if not is_stopped():
            return _say_fault(error, arguments)
        code = INTERRUPTED  # the signal caused the error: a worker ended too, or the terminal was closed
    except KeyboardInterrupt:  # outside of typer's handler
        code = INTERRUPTED
    if code == INTERRUPTED:
        echo_fault(INTERRUPTION)
        return exit_code()
    return code or 0


def _say_fault(error: Exception, arguments: list[str]) -> int:
    """Print a user error and return its exit code. Raise `error` again if it is not a user error."""
    if isinstance(error, UserError):
        return _say(str(error), error.exit_code)
    if isinstance(error, typer.TyperException):
        return _say(_usage(error))
    if isinstance(error, OSError) and error.strerror is not None:
        where = error.filename or "worldtune"
        return _say(f"{error.strerror.lower()} [{where}]. Check the path, its permissions and the free disk space.")
    if type(error).__name__ == "OutOfMemoryError":  # compared by name, so that torch need not be imported
        hint = "Use a smaller size, machine.checkpointing=full or --device cpu; see `worldtune plan`."
        return _say(f"the GPU ran out of memory [{' '.join(arguments[:2])}]. {hint}")
    raise error


def main() -> None:
    """Run the `worldtune` script."""
    sys.excepthook = _our_fault
    warnings.formatwarning = _warning
    for name, value in QUIET.items():  # hide their progress bars and reports
        os.environ.setdefault(name, value)
    with ending_as_ctrl_c_does():
        code = run(sys.argv[1:])
    sys.exit(code)


def _say(message: str, code: int = 2) -> int:
    if WRITTEN.get():
        code, message = UNSURE, f"{message} Earlier writes to the registry remain: see worldtune registry audit."
    echo_fault("error: " + " ".join(message.splitlines()))
    return code


def _usage(error: typer.TyperException) -> str:
    """Return the message for a misused option or argument, with the closest option or the help page."""
    context, nearest = getattr(error, "ctx", None), getattr(error, "possibilities", None)
    where = context.command_path if context is not None else "worldtune"
    hint = f"Did you mean '{nearest[0]}'?" if nearest else f"See '{where} --help'."
    what = error.message if nearest else error.format_message()
    return f"{what[:1].lower()}{what[1:].rstrip('.')} [{where}]. {hint}"


def _warning(message: object, category: type[Warning], filename: str, lineno: int, line: str | None = None) -> str:
    """Return a library's warning as one safe line; it may quote text from a file."""
    return one_line(f"{filename}:{lineno}: {category.__name__}: {message}") + "\n"


def _our_fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):  # before the verb started; Python then exits with 130
        echo_fault(INTERRUPTION)
        return
    echo_text("".join(traceback.format_exception(kind, error, trace)), end="", err=True)
    echo_fault(
        f"worldtune {__version__}: this is a bug in worldtune. "
        "Please report the lines above with the output of 'worldtune doctor --json'."
    )
