"""`worldtune registry`: the life of a release on the command line, every part as text and as JSON."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.registry.reports import write_report_of
from support.adapters import edit_card
from worldtune.cli.main import run

from .in_process import Verb, in_process
from .in_process import fault as one_line

__all__ = ["in_process"]

NAME = "cell7/front/pick"
PLACES = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME")
Part = Callable[..., Any]


@pytest.fixture
def adapter(tiny_adapter: Path) -> Path:
    """The folder of an adapter. Do not write into it."""
    return tiny_adapter


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the user's files their own folders."""
    for name in PLACES:
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def part(in_process: Verb) -> Part:
    """Return a function: `part("add", ...)` is the JSON that `registry add ...` prints."""

    def call(*arguments: str | Path, by: Path | None = None) -> Any:
        done = in_process("registry", *arguments, *(("--key", by) if by else ()), "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return call


@pytest.fixture(scope="module")
def made(tiny_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ann's registry, release 1 in production, and the key of bob, approver and evaluator. Copy it."""
    folder = tmp_path_factory.mktemp("made")
    bob = str(folder / "bob.pem")
    with pytest.MonkeyPatch.context() as patch:
        for name in PLACES:
            patch.setenv(name, str(folder / name))
        for words in (
            ["init", "--person", "ann"],
            ["key", "--out", bob, "--kind", "ecdsa-p256"],
            ["enroll", "bob", f"{bob}.pub", "--role", "approver", "--role", "evaluator", "--expires", "365d"],
            ["add", NAME, str(tiny_adapter), "--label", "robot=so101"],
            ["evaluate", f"{NAME}@1", str(write_report_of(tiny_adapter, folder / "report")), "--key", bob],
            ["approve", f"{NAME}@1", "production", "--reason", "good", "--key", bob],
            ["promote", f"{NAME}@1", "production", "--generation", "0"],
        ):
            assert run(["registry", *words]) == 0
    return folder


@pytest.fixture
def live(made: Path, tmp_path: Path) -> Path:
    """Copy the `made` folder; return bob's key."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "bob.pem"


def test_showing_a_release_does_not_import_torch(live: Path) -> None:
    show = f"run(['adapter', 'show', '{NAME}@production'])"
    code = f"import sys; from worldtune.cli.main import run; assert {show} == 0; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("method      LoRA")


def test_release_to_production_and_rollback(
    part: Part, in_process: Verb, live: Path, adapter: Path, tmp_path: Path
) -> None:
    shown = part("show", f"{NAME}@production")
    assert shown["channels"] == ["production"]
    assert shown["evidence"]["fact"]["outcome"] == "pass"
    assert [one["actor"] for one in shown["for_channel"]["production"]["approvals"]] == ["bob"]
    other = tmp_path / "other"
    other.mkdir()
    for path in adapter.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    edit_card(other, name="other")
    assert part("add", NAME, other, "--parent", f"{NAME}@1")["fact"]["number"] == 2
    refused = one_line(in_process, "registry", "promote", f"{NAME}@2", "production")
    assert "there is no evaluation; approvals: 0 of 1" in refused
    glass = ("--break-glass", "--reason", "line 3 is down", "--expires", "8h")
    assert part("promote", f"{NAME}@2", "production", *glass)["fact"]["action"] == "break-glass"
    assert "BREAK-GLASS" in in_process("registry", "list").out
    assert "BREAK-GLASS @production until" in in_process("registry", "show", f"{NAME}@2").out
    back = part("rollback", f"{NAME}@production", "--reason", "it misses")
    assert (back["fact"]["number"], back["fact"]["generation"]) == (1, 3)
    assert "BREAK-GLASS" not in in_process("registry", "list").out
    assert "(BREAK-GLASS): line 3 is down" in in_process("registry", "show", NAME).out
    part("revoke", f"{NAME}@2", "--reason", "bad", by=live)
    assert "REVOKED" in in_process("registry", "show", NAME).out
    assert part("verify")["valid"]


def test_every_command_prints_text(in_process: Verb, live: Path, tmp_path: Path) -> None:
    def output(*arguments: str | Path) -> str:
        done = in_process("registry", *arguments)
        assert done.code == 0, done.err
        return done.out

    assert output("list") == f"{NAME}  newest 1    @production 1  robot=so101\n"
    assert "channels  @production" in output("show", f"{NAME}@1")
    assert "@production generation 1: 1, " in output("show", NAME)
    assert "made from" in output("lineage", f"{NAME}@1", "--draw", tmp_path / "lineage.svg")
    assert (tmp_path / "lineage.svg").read_text().startswith("<svg")
    assert "bob" in output("people")
    assert "approvals: 1" in output("policy")
    assert "no faults" in output("verify")
    assert f"{NAME}@production is 1 (generation 1, promotion)" in output("audit", NAME)
    assert "signed:" in output("audit", "--head", tmp_path / "head.json")
    assert "the log contains this head" in output("audit", "--against", tmp_path / "head.json")
    assert "sha256" in output("export", f"{NAME}@1", "-o", tmp_path / "one.tar")
    assert (tmp_path / "one" / "README.md").is_file()
    assert "counts:" not in output("import", tmp_path / "one.tar")
    assert "cell7/front: the expected base is" in output(
        "expect", "cell7/front", "base", "0" * 64, "--reason", "new base"
    )
    assert "stale     base: the release has" in output("show", f"{NAME}@1")
    assert "cell7/front: the expected base is 000000000000: new base" in output("expect")
    line = one_line(in_process, "registry", "expect", "cell7/front", "base")
    assert "the requirement, its digest or the reason is missing" in line
    (tmp_path / "films").mkdir()
    assert "dataset films" in output("derive", "dataset", tmp_path / "films", "--from", f"{NAME}@1")
    assert f"release  {NAME}@1" in output("lineage", tmp_path / "films")
    done = in_process("registry", "revoke", f"{NAME}@1", "--reason", "bad", "--key", live)
    assert "note: dataset films" in done.err
    assert f"note: {NAME}@production holds it and is now blocked: worldtune registry rollback" in done.err
    assert "@production 1 REVOKED" in output("list")
    assert f"{NAME}@1 is REVOKED: bad" in output("revocations", "-o", tmp_path / "revoked.json")
    assert "no new revocations" in output("import", tmp_path / "revoked.json")
    assert "have no name" in one_line(in_process, "registry", "import", tmp_path / "revoked.json", "--name", "a")
    assert "line=3" in output("label", NAME, "line=3")
    done = in_process("registry", "retire", _key_of(in_process, "bob"), "--reason", "lost", "--stolen")
    assert f"note: now void: bob approved {NAME}@1 for production: good" in done.err
    assert f"note: stays valid: {NAME}@1 is REVOKED: bad" in done.err


def _key_of(in_process: Verb, person: str) -> str:
    people = json.loads(in_process("registry", "people", "--json").out)
    return next(str(one["key"]) for one in people if one["person"] == person)


def test_every_command_prints_json(part: Part, live: Path, tmp_path: Path) -> None:
    assert part("list", "--label", "robot=so101")[0]["channels"] == {"production": 1}
    assert part("list", "--label", "robot=other") == []
    assert part("show", NAME)["releases"][0]["fact"]["number"] == 1
    assert {node["kind"] for node in part("lineage", f"{NAME}@1")["nodes"]} >= {"release", "base"}
    assert {one["person"] for one in part("people")} == {"ann", "bob"}
    assert part("policy")["channels"]["production"]["approvals"] == 1
    (tmp_path / "policy.yaml").write_text('channels:\n  "*": {approvals: 2}\n')
    assert part("policy", tmp_path / "policy.yaml")["fact"]["content"]["channels"]["*"]["approvals"] == 2
    assert part("audit")[0]["kind"] == "registry_created"
    assert part("audit", "--head", tmp_path / "head.json")["sequence"] > 1
    assert part("export", f"{NAME}@1", "-o", tmp_path / "one.tar")["sha256"]
    assert part("import", tmp_path / "one.tar")["release"]["fact"]["number"] == 1
    assert part("approve", f"{NAME}@1", "staging", "--reason", "x", by=live)["fact"]["channel"] == "staging"
    assert (
        part("approve", f"{NAME}@1", "staging", "--withdraw", "--reason", "y", by=live)["kind"] == "approval_withdrawn"
    )


def test_rejected_revocation_exits_with_3(in_process: Verb, live: Path, tmp_path: Path) -> None:
    assert in_process("registry", "key", "-o", "eve.pem").code == 0
    place = ("--registry", tmp_path / "other", "--key", tmp_path / "eve.pem")
    assert in_process("registry", "init", "--person", "eve", *place).code == 0
    in_process("registry", "revoke", f"{NAME}@1", "--reason", "bad", "--key", live)
    in_process("registry", "revocations", "-o", "revoked.json")
    done = in_process("registry", "import", "revoked.json", *place)
    assert done.code == 3
    assert "DOES NOT APPLY here: the key " in done.out
    assert "is not enrolled in this registry" in done.out
    done = in_process("registry", "import", "revoked.json", *place, "--json")
    assert (done.code, json.loads(done.out)["revoked"]) == (3, [])


def test_imported_revocation_lists_affected_channels(
    in_process: Verb, live: Path, adapter: Path, tmp_path: Path
) -> None:
    place = ("--registry", tmp_path / "other", "--key", tmp_path / "eve.pem")
    assert in_process("registry", "init", "--person", "eve", *place).code == 0
    assert in_process("registry", "enroll", "bob", "bob.pem.pub", "--role", "approver", *place).code == 0
    assert in_process("registry", "add", "line/pick", adapter, *place).code == 0
    assert in_process("registry", "promote", "line/pick@1", "staging", *place).code == 0
    in_process("registry", "revoke", f"{NAME}@1", "--reason", "bad", "--key", live)
    in_process("registry", "revocations", "-o", "revoked.json")
    done = in_process("registry", "import", "revoked.json", *place)
    assert done.code == 0, done.err
    assert done.out.startswith("line/pick@1 (")
    assert done.out.endswith(") is REVOKED by another registry: bad\n")
    assert "note: line/pick@staging holds it" in done.err


def test_show_lists_what_each_channel_lacks(in_process: Verb, live: Path, tmp_path: Path) -> None:
    rules = "{approvals: 2, evidence: true}\n  field: {approvals: 1}\n  '*': {}"
    (tmp_path / "policy.yaml").write_text(f"channels:\n  production: {rules}\n")
    assert in_process("registry", "policy", "policy.yaml").code == 0
    shown = in_process("registry", "show", f"{NAME}@1").out
    assert "lacks     for production: 2 more approvals" in shown
    assert "lacks     for production: approval: bob approved under another policy" in shown
    assert "lacks     for field: 1 more approval\n" in shown


def test_export_does_not_overwrite_a_folder(in_process: Verb, live: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert "the path already exists [run]" in one_line(in_process, "registry", "export", f"{NAME}@1", "-o", "run.tar")
    assert (tmp_path / "run" / "checkpoints").is_dir()
    assert not (tmp_path / "run.tar").exists()


def test_verify_exits_with_3_for_changed_bytes(in_process: Verb, live: Path, tmp_path: Path) -> None:
    (blob, *_) = (tmp_path / "XDG_DATA_HOME" / "worldtune" / "registry" / "blobs").rglob("*/????????????????????*")
    blob.write_bytes(b"x")
    done = in_process("registry", "verify")
    assert done.code == 3
    assert "FAULT: " in done.out
    done = in_process("registry", "verify", "--json")
    assert (done.code, json.loads(done.out)["valid"]) == (3, False)


def test_revoking_a_base_blocks_its_releases(in_process: Verb, part: Part, live: Path, adapter: Path) -> None:
    base = part("show", f"{NAME}@1")["release"]["fact"]["base"]
    reason = ("--reason", "its VAE was converted wrongly", "--key", live)
    assert "give either a release or a base" in one_line(in_process, "registry", "revoke", *reason)
    assert "give either a release or a base" in one_line(
        in_process, "registry", "revoke", f"{NAME}@1", "--base", base, *reason
    )
    assert "0 bases of releases" in one_line(in_process, "registry", "revoke", "--base", "0" * 12, *reason)
    done = in_process("registry", "revoke", "--base", base[:12], *reason)
    assert done.code == 0, done.err
    assert done.out == f"every release on the base {base[:12]} is REVOKED: its VAE was converted wrongly\n"
    assert "note: 1 releases are on this base\n" in done.err
    assert f"note: {NAME}@production holds one and is now blocked" in done.err
    assert "is revoked with its base" in one_line(in_process, "adapter", "show", f"{NAME}@production")
    assert part("revocations")[0]["kind"] == "base_revoked"


def test_log_without_the_pinned_head_is_rejected(in_process: Verb, part: Part, live: Path, tmp_path: Path) -> None:
    part("audit", "--head", tmp_path / "head.json")
    assert part("pin", tmp_path / "head.json")["sequence"] == 7
    assert in_process("registry", "pin", "head.json").out.startswith("pinned: event 7 of ")
    shutil.rmtree(tmp_path / "XDG_CACHE_HOME")
    with sqlite3.connect(tmp_path / "XDG_DATA_HOME" / "worldtune" / "registry" / "log.db") as connection:
        connection.execute("DROP TRIGGER forbid_event_delete")
        connection.execute("DELETE FROM event WHERE sequence = 7")
    assert "event 7, which this machine saw, is no longer in the log" in one_line(in_process, "registry", "list")


def test_verify_option_ignores_the_cache(in_process: Verb, live: Path, tmp_path: Path) -> None:
    assert in_process("registry", "--verify", "list").code == 0
    with sqlite3.connect(tmp_path / "XDG_DATA_HOME" / "worldtune" / "registry" / "log.db") as connection:
        connection.execute("DROP TRIGGER forbid_event_update")
        connection.execute("UPDATE event SET hash = 'x' WHERE sequence = 3")
    assert in_process("registry", "list").code == 0
    assert "the event's bytes do not match its hash [event 3]" in one_line(in_process, "registry", "--verify", "list")


def test_retire_stolen_lists_void_events(in_process: Verb, part: Part, live: Path) -> None:
    (bob,) = [one["key"] for one in part("people") if one["person"] == "bob"]
    done = in_process("registry", "retire", bob, "--reason", "it was in the bin", "--stolen")
    assert "note: now void: bob approved" in done.err
    assert f"note: now void: {NAME}@production is 1" in done.err
    assert "no longer has the channel production" in one_line(in_process, "adapter", "show", f"{NAME}@production")
    assert "NO EFFECT: bob approved" in in_process("registry", "audit").out
    done = in_process("registry", "verify")
    assert done.code == 0
    assert "void because a key was stolen: event 6 by bob has no effect" in done.out
    assert len(part("verify")["voided"]) == 3


def test_every_command_accepts_a_release(in_process: Verb, live: Path, tiny_world: Path, tmp_path: Path) -> None:
    assert "LoRA" in in_process("adapter", "show", f"{NAME}@production").out
    request = {"name": "a", "inference_type": "text2world", "prompt": "go", "resolution": "32,32", "num_steps": 1,
               "num_output_frames": 5, "guidance": 0, "adapter": f"{NAME}@production"}  # fmt: skip
    (tmp_path / "r.json").write_text(json.dumps(request))
    done = in_process("generate", tmp_path / "r.json", "--base", tiny_world, "-o", "out")
    assert done.code == 0, done.err
    (used,) = json.loads((tmp_path / "out" / "a.json").read_text())["adapters"]
    assert used["release"].startswith(f"{NAME}@1 sha256:")
    assert used["release"].endswith("@production generation 1")
    options = ("--steps", "1", "--prompt", "go", "--base", tiny_world, "--adapter", f"{NAME}@1", "-o", "other")
    assert in_process("generate", *options).code == 0
    assert in_process("adapter", "blend", f"{NAME}@1=0.5", f"{NAME}@production=0.5", "-o", "both").code == 0
    assert in_process("adapter", "diff", f"{NAME}@1", f"{NAME}@production").code == 0
    assert "has no channel nowhere" in one_line(in_process, "adapter", "show", f"{NAME}@nowhere")
    in_process("registry", "revoke", f"{NAME}@1", "--reason", "bad", "--key", live)
    assert "is revoked: bad" in one_line(in_process, "generate", tmp_path / "r.json", "--base", tiny_world, "-o", "no")
    assert not (tmp_path / "no" / "a.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("enroll", "x", "bob.pem.pub", "--role", "aprover"), "there is no role 'aprover'"),
        (("enroll", "x", "none.pub", "--role", "admin"), "not a public key"),
        (("key", "--kind", "rsa"), "'rsa' is not a key type"),
        (("promote", f"{NAME}@1", "production", "--break-glass"), "must be given together"),
        (("promote", f"{NAME}@1", "production", "--reason", "x"), "must be given together"),
        (("promote", f"{NAME}@1", "Production"), "is not a valid channel name"),
        (("promote", f"{NAME}@1", "prodction"), "Did you mean 'production'?"),
        (("approve", f"{NAME}@1", "prodution", "--reason", "x", "--key", "bob.pem"), "Did you mean 'production'?"),
        (
            ("promote", f"{NAME}@1", "production", "--break-glass", "--reason", "x", "--expires", "900d"),
            "lasts 7 days at most",
        ),
        (("revoke", f"{NAME}@1", "--reason", " "), "the reason is empty"),
        (("export", f"{NAME}@1", "-o", "bundle"), "is not a .tar file"),
        (("revocations", "-o", "revoked.tar"), "is not a .json file"),
        (("import", "none.json"), "there is no such file"),
        (("clock", "--reason", "x"), "which is not ahead of this machine's clock"),
        (("audit", "cell7/other"), "there is no adapter with this name"),
        (("policy", "bob.pem.pub"), "the policy is empty or not a mapping"),
        (("promote", f"{NAME}@1", "production", "--generation", "7"), "the channel is at generation 1, not 7"),
        (("promote", NAME, "production"), "names no release"),
        (("promote", "cell7/frnt/pick@1", "production"), f"Did you mean '{NAME}'?"),
        (("rollback", f"{NAME}@1", "--reason", "x"), "names no channel"),
        (("rollback", f"{NAME}@production", "--reason", "x"), "the channel held no other release before"),
        (("evaluate", f"{NAME}@1", "nothing"), "no evaluation results found"),
        (("approve", f"{NAME}@1", "production", "--reason", "x"), "ann made it and cannot approve it"),
        (("approve", f"{NAME}@1", "production", "--reason", "x", "--expires", "soon"), "is not a duration"),
        (("expect", "cell7", "bases", "0" * 64, "--reason", "x"), "Did you mean 'base'?"),
        (("expect", "cell7", "base", "none", "--reason", "x"), "is neither a digest nor a file"),
        (("lineage", f"{NAME}@1", "--draw", "a.png"), ".png is not a supported drawing format"),
        (("add", "Cell7", "."), "is not a valid adapter name"),
        (("add", NAME, "."), "there is no adapter here"),
        (("label", NAME, "robot"), "is not a label"),
        (("show", "cell7/other"), "there is no adapter with this name"),
        (("import", "none.tar"), "there is no such file"),
        (("pull", NAME, "team/pick@main"), "names no commit"),
        (("join", "0" * 12, "--database", "sqlite:///x.db", "--store", "."), "this folder already holds a registry"),
        (("init",), "this folder already holds a registry"),
        (("retire", "00000000", "--reason", "x"), "0 keys begin with"),
        (("audit", "--registry", "nowhere"), "there is no registry here"),
        (("list", "--regstry", "x"), "Did you mean"),
    ],
)
def test_user_error_is_one_line(in_process: Verb, live: Path, arguments: tuple[str, ...], what: str) -> None:
    assert what in one_line(in_process, "registry", *arguments)


def test_missing_registry_error_says_how_to_begin(in_process: Verb) -> None:
    assert "worldtune registry init" in one_line(in_process, "registry", "list")
    assert "worldtune registry init --person ann" in in_process("registry").out
