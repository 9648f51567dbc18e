import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import CommandLine
from support.processes import HEARING_CTRL_C
from worldtune import __version__
from worldtune.cli.main import VERBS, load_verb, run

TABLE = {name: line for section in VERBS.values() for name, line in section.items()}

# A test verb in a real process; its function does BODY.
WITH_VERB = """
import sys, time, types
from worldtune.cli import main
def made_up():
    '''Do as the test says.'''
    BODY
sys.modules["worldtune.cli.made_up"] = module = types.ModuleType("worldtune.cli.made_up")
module.made_up = made_up
main.VERBS["Start here"]["made_up"] = "Do as the test says."
main.main()
"""


def made_up_verb(body: str) -> list[str]:
    return [sys.executable, "-c", WITH_VERB.replace("BODY", body), "made_up"]


@pytest.mark.parametrize("name", TABLE)
def test_help_page_begins_with_the_line_in_the_table(name: str) -> None:
    help_page = load_verb(name).help or ""
    assert help_page.splitlines()[0] == TABLE[name]
    assert "Example" in help_page
    assert f"worldtune {name}" in help_page


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], []])
def test_help_lists_every_verb(worldtune: CommandLine, arguments: list[str]) -> None:
    done = worldtune(*arguments)
    assert done.returncode == 0
    assert done.stderr == ""
    text = " ".join(done.stdout.split())
    for name, line in TABLE.items():
        assert f"{name} {line}" in text


def test_help_imports_no_verb_and_no_large_library() -> None:
    code = (
        "import sys; from worldtune.cli.main import run; run(['--help']);"
        "print(*[name for name in sys.modules if name.startswith('worldtune.') or '.' not in name], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert {name for name in loaded if name.startswith("worldtune.")} == {
        "worldtune.cli",
        "worldtune.cli.main",
        "worldtune.cli.terminal",
        "worldtune.cli.terminal.log",
        "worldtune.cli.terminal.output",
        "worldtune.cli.terminal.signals",
        "worldtune.core",
        "worldtune.core.safe_text",
        "worldtune.core.version",
        "worldtune.errors",
    }
    assert not loaded & {"torch", "numpy", "diffusers", "rich", "pydantic", "yaml"}


def test_no_help_page_imports_a_large_library() -> None:
    code = (
        "import sys; from worldtune.cli.main import VERBS, load_verb;"
        "[load_verb(name) for verbs in VERBS.values() for name in verbs];"
        "print(*[name for name in sys.modules if '.' not in name])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {
        "torch",
        "numpy",
        "diffusers",
        "transformers",
        "peft",
        "cv2",
        "pyarrow",
        "av",
    }


def test_version(worldtune: CommandLine) -> None:
    assert worldtune("--version").stdout == f"worldtune {__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [("trian", "train"), ("eval", "evaluate"), ("generat", "generate")])
def test_unknown_verb_suggests_the_closest(worldtune: CommandLine, typed: str, meant: str) -> None:
    done = worldtune(typed)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"error: no such verb: '{typed}' [worldtune]. Did you mean '{meant}'?\n"


def test_unknown_verb_without_a_match_lists_all(worldtune: CommandLine) -> None:
    done = worldtune("qqqq")
    assert done.returncode == 2
    assert all(name in done.stderr for name in TABLE)


def test_unknown_option_suggests_the_closest(worldtune: CommandLine) -> None:
    done = worldtune("bases", "--jsno")
    assert done.returncode == 2
    assert done.stderr == "error: no such option: --jsno [worldtune bases]. Did you mean '--json'?\n"


def test_unknown_option_without_a_match_points_to_help(worldtune: CommandLine) -> None:
    done = worldtune("bases", "--qqqq")
    assert done.returncode == 2
    assert done.stderr == "error: no such option: --qqqq [worldtune bases]. See 'worldtune bases --help'.\n"


def test_missing_argument_is_one_line(worldtune: CommandLine) -> None:
    done = worldtune("train")
    assert done.returncode == 2
    assert done.stderr.startswith("error: missing argument")
    assert done.stderr.count("\n") == 1


def test_user_error_with_a_line_break_is_one_line() -> None:
    body = "from worldtune.errors import DataError; raise DataError('two\\nlines', where='a', hint='Fix it.')"
    done = subprocess.run(made_up_verb(body), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: two lines [a]. Fix it.\n"


def test_unreadable_file_is_a_user_error(tmp_path: Path) -> None:
    done = subprocess.run(made_up_verb(f"open({str(tmp_path)!r})"), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        done.stderr == f"error: is a directory [{tmp_path}]. Check the path, its permissions and the free disk space.\n"
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_full_disk_is_a_user_error() -> None:
    body = "file = open('/dev/full', 'w'); file.write('x'); file.flush()"
    done = subprocess.run(made_up_verb(body), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no space left on device")
    assert "Traceback" not in done.stderr


def test_gpu_out_of_memory_is_a_user_error() -> None:
    body = "import torch; raise torch.OutOfMemoryError('CUDA out of memory')"
    done = subprocess.run(made_up_verb(body), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the GPU ran out of memory [made_up]. ")
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_is_one_line_and_130() -> None:
    body = f"{HEARING_CTRL_C}; print('working', flush=True); time.sleep(60)"
    with subprocess.Popen(
        made_up_verb(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert process.returncode == 130
    assert stderr == "interrupted: nothing is left half-written\n"


def test_bug_shows_the_traceback_and_asks_for_a_report() -> None:
    done = subprocess.run(made_up_verb("return {}['absent']"), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "KeyError: 'absent'" in done.stderr
    assert "this is a bug in worldtune" in done.stderr.splitlines()[-1]


def test_return_value_of_a_verb_is_not_an_exit_code() -> None:
    assert subprocess.run(made_up_verb("return 7"), check=False).returncode == 0


def test_verb_may_choose_its_exit_code() -> None:
    body = "import typer; raise typer.Exit(2)"
    assert subprocess.run(made_up_verb(body), check=False).returncode == 2


def test_run_returns_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert run(["nonsense"]) == 2
    assert capsys.readouterr().out == f"worldtune {__version__}\n"
