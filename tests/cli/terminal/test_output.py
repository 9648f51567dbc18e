"""Text from other people's files is printed safely: no new lines, no terminal controls, no markup."""

import ast
import io
import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from conftest import CommandLine
from support.adapters import edit_card
from worldtune.cli.terminal import data_tables
from worldtune.cli.terminal.data_tables import open_console, print_line, print_table
from worldtune.cli.terminal.output import echo, echo_json, echo_text
from worldtune.cli.terminal.progress import progress

from ...data.videos import cosmos_folder
from ..in_process import Verb, fault, in_process

__all__ = ["in_process"]

CLI = Path(data_tables.__file__).parent
EVIL = "pocket\n   99  2026-11-30  bob  bob approved cell7@1\x1b]0;owned\x07\u202e"
SHOWN = r"pocket\n   99  2026-11-30  bob  bob approved cell7@1\x1b]0;owned\x07\u202e"


def evil_adapter(tiny_adapter: Path, folder: Path) -> Path:
    """Copy an adapter; its card names a base that would forge a line and set the terminal's title."""
    shutil.copytree(tiny_adapter, folder)
    edit_card(folder, base=EVIL, schedule=EVIL)
    return folder


def test_adapter_show_prints_a_card_as_one_line(worldtune: CommandLine, tiny_adapter: Path, tmp_path: Path) -> None:
    source = evil_adapter(tiny_adapter, tmp_path / "evil")
    plain, shown = worldtune("adapter", "show", tiny_adapter), worldtune("adapter", "show", source)
    assert shown.returncode == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == len(plain.stdout.splitlines())
    assert SHOWN in shown.stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(shown.stdout)


def test_json_is_printable_and_parses_to_the_same_value(in_process: Verb, tiny_adapter: Path, tmp_path: Path) -> None:
    done = in_process("adapter", "show", evil_adapter(tiny_adapter, tmp_path / "evil"), "--json")
    assert not {"\x1b", "\x07", "\u202e"} & set(done.out)
    assert json.loads(done.out)["card"]["base"] == EVIL


NAMES = ["a\nerror: forged [x]. Done.", "a\x1b[2J\x1b]0;owned\x07", "a\u202e\u2028b", "a\udcff"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_user_error_is_one_printable_line_for_any_file_name(in_process: Verb, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "recipe.yaml").write_text("nothing: here\n")
    for arguments in (("check", folder), ("train", folder / "recipe.yaml"), ("adapter", "show", folder), (name,)):
        assert fault(in_process, *arguments).isprintable()


def test_dataset_text_cannot_control_tables(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "fi\x1b[31mlms", {"0000": 20})
    evil = "put [red]it[/red] [link=http://a.b]there[/link]\x1b[2J\x9b31m :smile:\n\u202eusable"
    (tmp_path / "fi\x1b[31mlms" / "metas" / "0000.txt").write_text(evil)
    done = in_process("inspect", tmp_path / "fi\x1b[31mlms", "--frames", "9", "--height", "32", "--width", "32")
    assert done.code == 0, done.err
    assert "[red]it[/red]" in " ".join(done.out.split())
    assert not {"\x1b", "\x9b", "\u202e"} & set(done.out)


def test_tables_and_lines_escape_markup_and_controls() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, markup=False, emoji=False, highlight=False)
    print_line(console, "[red]x[/red]\x1b[2J\nforged")
    print_table(console, "T", ("what",), [("[link=http://a.b]x[/link]\x1b]0;y\x07 :smile:",)])
    written = console.file.getvalue()  # type: ignore[attr-defined]
    assert r"[red]x[/red]\x1b[2J\nforged" in written
    assert r"[link=http://a.b]x[/link]\x1b]0;y\x07 :smile:" in written
    assert "\x1b[2J" not in written
    assert "\x1b]" not in written
    assert open_console().render_str("[red]x").plain == "[red]x"


def test_progress_bar_escapes_markup_and_controls(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with progress("train [red]x[/red]\x1b[2J\nforged") as advance:
        advance(1, 1, "[bold]note[/bold]\x1b]0;y\x07")
    err = capsys.readouterr().err
    assert r"train [red]x[/red]\x1b[2J\nforged" in err
    assert r"[bold]note[/bold]\x1b]0;y\x07" in err
    assert "\x1b[2J" not in err


def test_echo_functions_escape_controls(capsys: pytest.CaptureFixture[str]) -> None:
    echo(EVIL)
    echo_text("two\nlines\x1b[0m")
    echo_json({"a": "\x1b\x9bé\udcff"})
    assert capsys.readouterr().out == SHOWN + '\ntwo\nlines\\x1b[0m\n{\n  "a": "\\u001b\\u009bé\\udcff"\n}\n'


def test_traceback_escapes_controls() -> None:
    body = "from worldtune.cli import main; main.run = lambda _: {}['\\u202e' + chr(27)]; main.main()"
    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "this is a bug in worldtune" in done.stderr.splitlines()[-1]
    assert not {"\x1b", "\u202e"} & set(done.stderr)


def test_command_line_prints_only_with_output_functions() -> None:
    """`echo` of output.py makes a line safe; `typer.echo`, `print` and a console's `print` do not."""
    past = []
    for path in sorted(CLI.glob("*.py")):
        if path.name in {"output.py", "data_tables.py"}:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called == "print" or called.endswith((".print", ".echo", ".secho", "std.write", "stderr.write")):
                    past.append(f"{path.name}:{node.lineno}")
    assert past == []


@pytest.mark.parametrize(("environment", "expected"), [({}, b"\x1b[31mbad\x1b[0m"), ({"NO_COLOR": "1"}, b"bad")])
def test_red_needs_a_terminal_without_no_color(environment: dict[str, str], expected: bytes) -> None:
    ours, theirs = pty.openpty()
    code = "from worldtune.cli.terminal.output import echo; echo('bad', red=True)"
    plain = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, env=plain | environment, check=True)
    assert os.read(ours, 100).rstrip() == expected
    for end in (ours, theirs):
        os.close(end)


def test_output_to_a_file_has_no_colors(capsys: pytest.CaptureFixture[str]) -> None:
    echo("bad", red=True)
    assert capsys.readouterr().out == "bad\n"
