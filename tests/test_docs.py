"""docs/verbs.md and the command line agree: every command exists, and every verb is shown."""

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from worldtune.cli.dreams.dream import DEFAULT_PART
from worldtune.cli.main import VERBS, load_verb

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "verbs.md").read_text()
SHOWN = re.findall(r"^\$ worldtune (.+)$", PAGE, re.MULTILINE)


def names(command: object) -> list[str]:
    """Return the names of a verb's sub-verbs."""
    return list(getattr(command, "commands", {}))


def test_every_command_in_verbs_md_has_output() -> None:
    spec = importlib.util.spec_from_file_location("refresh", DOCS / "refresh.py")
    assert spec is not None
    assert spec.loader is not None
    refresh = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(refresh)
    shown = [command for block in refresh.BLOCK.findall(PAGE) for command in refresh.commands(block)]
    assert [command for command in shown if command.startswith("worldtune")] == [f"worldtune {rest}" for rest in SHOWN]
    for command in shown:
        _, _, after = PAGE.partition(f"$ {command}\n")
        assert not after.startswith(("$ ", "```")), command


def test_every_verb_is_in_verbs_md() -> None:
    verbs = {verb for section in VERBS.values() for verb in section}
    assert {shlex.split(command)[0] for command in SHOWN} >= verbs - {
        "demo",
        "caption",
        "dream-study",
        "encode",
        "report",
        "bench",
    }
    shown = "\n".join(SHOWN)
    assert all(f"adapter {verb}" in shown for verb in names(load_verb("adapter")))


@pytest.mark.parametrize("command", SHOWN)
def test_options_in_verbs_md_exist(command: str) -> None:
    group, *rest = shlex.split(command)
    verb = load_verb(group)
    if rest and rest[0] in names(verb):
        verb, rest = verb.commands[rest[0]], rest[1:]
    elif group == "dream":
        verb = verb.commands[DEFAULT_PART]
    options = {option for parameter in verb.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)} <= options
