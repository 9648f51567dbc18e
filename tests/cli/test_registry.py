"""`worldtune registry`: the life of a release on the command line, every part as text and as JSON."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.adapters import edit_card
from worldtune.bench.registry_reports import report_of
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
    """Everything of a user is in a folder of its own."""
    for name in PLACES:
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def part(in_process: Verb) -> Part:
    """`part("add", ...)`: what the part prints as JSON."""

    def call(*arguments: str | Path, by: Path | None = None) -> Any:
        done = in_process("registry", *arguments, *(("--key", by) if by else ()), "--json")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return call


@pytest.fixture(scope="module")
def made(tiny_adapter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the registry of ann, bob, who may approve and evaluate, and release 1 in production. Copy it."""
    folder = tmp_path_factory.mktemp("made")
    bob = str(folder / "bob.pem")
    with pytest.MonkeyPatch.context() as patch:
        for name in PLACES:
            patch.setenv(name, str(folder / name))
        for words in (
            ["init", "--person", "ann"],
            ["key", "--out", bob, "--kind", "ecdsa-p256"],
            ["enrol", "bob", f"{bob}.pub", "--role", "approver", "--role", "evaluator", "--expires", "365d"],
            ["add", NAME, str(tiny_adapter), "--label", "robot=so101"],
            ["evaluate", f"{NAME}@1", str(report_of(tiny_adapter, folder / "report")), "--key", bob],
            ["approve", f"{NAME}@1", "production", "--reason", "good", "--key", bob],
            ["promote", f"{NAME}@1", "production", "--generation", "0"],
        ):
            assert run(["registry", *words]) == 0
    return folder


@pytest.fixture
def live(made: Path, tmp_path: Path) -> Path:
    """A copy of it; bob's key."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "bob.pem"


def test_from_nothing_to_production_and_back(
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
    assert part("promote", f"{NAME}@2", "production", *glass)["fact"]["how"] == "break-glass"
    assert "BREAK-GLASS" in in_process("registry", "list").out
    assert "BREAK-GLASS @production until" in in_process("registry", "show", f"{NAME}@2").out
    back = part("rollback", f"{NAME}@production", "--reason", "it misses")
    assert (back["fact"]["number"], back["fact"]["generation"]) == (1, 3)
    assert "BREAK-GLASS" not in in_process("registry", "list").out
    assert "(BREAK-GLASS): line 3 is down" in in_process("registry", "show", NAME).out
    part("revoke", f"{NAME}@2", "--reason", "bad", by=live)
    assert "REVOKED" in in_process("registry", "show", NAME).out
    assert part("verify")["sound"]


def test_every_part_prints_what_a_person_reads(in_process: Verb, live: Path, tmp_path: Path) -> None:
    def said(*arguments: str | Path) -> str:
        done = in_process("registry", *arguments)
        assert done.code == 0, done.err
        return done.out

    assert said("list") == f"{NAME}  newest 1    @production 1  robot=so101\n"
    assert "channels  @production" in said("show", f"{NAME}@1")
    assert "@production generation 1: 1, " in said("show", NAME)
    assert "made from" in said("lineage", f"{NAME}@1", "--draw", tmp_path / "lineage.svg")
    assert (tmp_path / "lineage.svg").read_text().startswith("<svg")
    assert "bob" in said("people")
    assert "approvals: 1" in said("policy")
    assert "all is as it was written" in said("verify")
    assert f"{NAME}@production is 1 (generation 1, promotion)" in said("audit", NAME)
    assert "signed:" in said("audit", "--head", tmp_path / "head.json")
    assert "the log holds this head" in said("audit", "--against", tmp_path / "head.json")
    assert "sha256" in said("export", f"{NAME}@1", "-o", tmp_path / "one.tar")
    assert (tmp_path / "one" / "README.md").is_file()
    assert "counts:" not in said("import", tmp_path / "one.tar")
    assert "cell7/front: the base is" in said("expect", "cell7/front", "base", "0" * 64, "--reason", "new base")
    assert "stale     base: it has" in said("show", f"{NAME}@1")
    assert "cell7/front: the base is 000000000000: new base" in said("expect")
    assert "what is expected is not said" in one_line(in_process, "registry", "expect", "cell7/front", "base")
    (tmp_path / "films").mkdir()
    assert "dataset films" in said("derive", "dataset", tmp_path / "films", "--from", f"{NAME}@1")
    assert f"release  {NAME}@1" in said("lineage", tmp_path / "films")
    done = in_process("registry", "revoke", f"{NAME}@1", "--reason", "bad", "--key", live)
    assert "note: dataset films" in done.err
    assert f"note: {NAME}@production holds it, and is used no more: worldtune registry rollback" in done.err
    assert "@production 1 REVOKED" in said("list")
    assert f"{NAME}@1 is REVOKED: bad" in said("revocations", "-o", tmp_path / "revoked.json")
    assert "nothing new" in said("import", tmp_path / "revoked.json")
    assert "are given no name" in one_line(in_process, "registry", "import", tmp_path / "revoked.json", "--name", "a")
    assert "line=3" in said("label", NAME, "line=3")
    done = in_process("registry", "retire", _key_of(in_process, "bob"), "--reason", "lost", "--stolen")
    assert f"note: counts no more: bob approved {NAME}@1 for production: good" in done.err
    assert f"note: stays: {NAME}@1 is REVOKED: bad" in done.err


def _key_of(in_process: Verb, person: str) -> str:
    people = json.loads(in_process("registry", "people", "--json").out)
    return next(str(one["key"]) for one in people if one["person"] == person)


def test_every_part_prints_json(part: Part, live: Path, tmp_path: Path) -> None:
    assert part("list", "--label", "robot=so101")[0]["channels"] == {"production": 1}
    assert part("list", "--label", "robot=other") == []
    assert part("show", NAME)["releases"][0]["fact"]["number"] == 1
    assert {node["kind"] for node in part("lineage", f"{NAME}@1")["nodes"]} >= {"release", "base"}
    assert {one["person"] for one in part("people")} == {"ann", "bob"}
    assert part("policy")["channels"]["production"]["approvals"] == 1
    (tmp_path / "policy.yaml").write_text('channels:\n  "*": {approvals: 2}\n')
    assert part("policy", tmp_path / "policy.yaml")["fact"]["content"]["channels"]["*"]["approvals"] == 2
    assert part("audit")[0]["kind"] == "founded"
    assert part("audit", "--head", tmp_path / "head.json")["sequence"] > 1
    assert part("export", f"{NAME}@1", "-o", tmp_path / "one.tar")["sha256"]
    assert part("import", tmp_path / "one.tar")["release"]["fact"]["number"] == 1
    assert part("approve", f"{NAME}@1", "staging", "--reason", "x", by=live)["fact"]["channel"] == "staging"
    assert part("approve", f"{NAME}@1", "staging", "--withdraw", "--reason", "y", by=live)["kind"] == "withdrawn"


def test_a_revocation_that_does_not_hold_here_is_loud(in_process: Verb, live: Path, tmp_path: Path) -> None:
    assert in_process("registry", "key", "-o", "eve.pem").code == 0
    place = ("--registry", tmp_path / "other", "--key", tmp_path / "eve.pem")
    assert in_process("registry", "init", "--person", "eve", *place).code == 0
    in_process("registry", "revoke", f"{NAME}@1", "--reason", "bad", "--key", live)
    in_process("registry", "revocations", "-o", "revoked.json")
    done = in_process("registry", "import", "revoked.json", *place)
    assert done.code == 3
    assert "DOES NOT HOLD here: nobody here has the key" in done.out
    done = in_process("registry", "import", "revoked.json", *place, "--json")
    assert (done.code, json.loads(done.out)["revoked"]) == (3, [])


def test_a_revocation_from_elsewhere_says_what_it_touches(
    in_process: Verb, live: Path, adapter: Path, tmp_path: Path
) -> None:
    place = ("--registry", tmp_path / "other", "--key", tmp_path / "eve.pem")
    assert in_process("registry", "init", "--person", "eve", *place).code == 0
    assert in_process("registry", "enrol", "bob", "bob.pem.pub", "--role", "approver", *place).code == 0
    assert in_process("registry", "add", "line/pick", adapter, *place).code == 0
    assert in_process("registry", "promote", "line/pick@1", "staging", *place).code == 0
    in_process("registry", "revoke", f"{NAME}@1", "--reason", "bad", "--key", live)
    in_process("registry", "revocations", "-o", "revoked.json")
    done = in_process("registry", "import", "revoked.json", *place)
    assert done.code == 0, done.err
    assert done.out.startswith("line/pick@1 (")
    assert done.out.endswith(") is REVOKED, as another registry says: bad\n")
    assert "note: line/pick@staging holds it" in done.err


def test_show_says_what_each_channel_still_asks_for(in_process: Verb, live: Path, tmp_path: Path) -> None:
    rules = "{approvals: 2, evidence: true}\n  field: {approvals: 1}\n  '*': {}"
    (tmp_path / "policy.yaml").write_text(f"channels:\n  production: {rules}\n")
    assert in_process("registry", "policy", "policy.yaml").code == 0
    shown = in_process("registry", "show", f"{NAME}@1").out
    assert "lacks     for production: 2 more approvals" in shown
    assert "lacks     for production: approval: that of bob was under another policy" in shown
    assert "lacks     for field: 1 more approval\n" in shown


def test_a_folder_of_a_user_is_not_replaced_by_an_export(in_process: Verb, live: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert "there is something already [run]" in one_line(
        in_process, "registry", "export", f"{NAME}@1", "-o", "run.tar"
    )
    assert (tmp_path / "run" / "checkpoints").is_dir()
    assert not (tmp_path / "run.tar").exists()


def test_verify_finds_what_was_changed_and_exits_with_3(in_process: Verb, live: Path, tmp_path: Path) -> None:
    (blob, *_) = (tmp_path / "XDG_DATA_HOME" / "worldtune" / "registry" / "blobs").rglob("*/????????????????????*")
    blob.write_bytes(b"x")
    done = in_process("registry", "verify")
    assert done.code == 3
    assert "FAULT: " in done.out
    done = in_process("registry", "verify", "--json")
    assert (done.code, json.loads(done.out)["sound"]) == (3, False)


def test_base_is_revoked_with_all_that_stands_on_it(in_process: Verb, part: Part, live: Path, adapter: Path) -> None:
    base = part("show", f"{NAME}@1")["release"]["fact"]["base"]
    reason = ("--reason", "its VAE was converted wrongly", "--key", live)
    assert "name a release or a base" in one_line(in_process, "registry", "revoke", *reason)
    assert "name a release or a base" in one_line(
        in_process, "registry", "revoke", f"{NAME}@1", "--base", base, *reason
    )
    assert "0 bases of releases" in one_line(in_process, "registry", "revoke", "--base", "0" * 12, *reason)
    done = in_process("registry", "revoke", "--base", base[:12], *reason)
    assert done.code == 0, done.err
    assert done.out == f"everything on the base {base[:12]} is REVOKED: its VAE was converted wrongly\n"
    assert "note: 1 releases stand on it\n" in done.err
    assert f"note: {NAME}@production holds one, and is used no more" in done.err
    assert "is revoked with its base" in one_line(in_process, "adapter", "show", f"{NAME}@production")
    assert part("revocations")[0]["kind"] == "base_revoked"


def test_pinned_head_is_asked_for(in_process: Verb, part: Part, live: Path, tmp_path: Path) -> None:
    part("audit", "--head", tmp_path / "head.json")
    assert part("pin", tmp_path / "head.json")["sequence"] == 7
    assert in_process("registry", "pin", "head.json").out.startswith("pinned: event 7 of ")
    shutil.rmtree(tmp_path / "XDG_CACHE_HOME")
    with sqlite3.connect(tmp_path / "XDG_DATA_HOME" / "worldtune" / "registry" / "log.db") as connection:
        connection.execute("DROP TRIGGER keep_event_delete")
        connection.execute("DELETE FROM event WHERE sequence = 7")
    assert "the event 7 that this machine saw is not in the log" in one_line(in_process, "registry", "list")


def test_verify_option_verifies_what_was_verified_before(in_process: Verb, live: Path, tmp_path: Path) -> None:
    assert in_process("registry", "--verify", "list").code == 0
    with sqlite3.connect(tmp_path / "XDG_DATA_HOME" / "worldtune" / "registry" / "log.db") as connection:
        connection.execute("DROP TRIGGER keep_event_update")
        connection.execute("UPDATE event SET hash = 'x' WHERE sequence = 3")
    assert in_process("registry", "list").code == 0
    assert "its bytes are not those of its hash [event 3]" in one_line(in_process, "registry", "--verify", "list")


def test_what_a_stolen_key_let_in_is_listed_and_is_no_fault(in_process: Verb, part: Part, live: Path) -> None:
    (bob,) = [one["key"] for one in part("people") if one["person"] == "bob"]
    done = in_process("registry", "retire", bob, "--reason", "it was in the bin", "--stolen")
    assert "note: counts no more: bob approved" in done.err
    assert f"note: counts no more: {NAME}@production is 1" in done.err
    assert "has no channel production any more" in one_line(in_process, "adapter", "show", f"{NAME}@production")
    assert "NO EFFECT: bob approved" in in_process("registry", "audit").out
    done = in_process("registry", "verify")
    assert done.code == 0
    assert "void since a key was stolen: event 6 by bob has no effect" in done.out
    assert len(part("verify")["void"]) == 3


def test_a_release_is_used_wherever_an_adapter_is(
    in_process: Verb, live: Path, tiny_world: Path, tmp_path: Path
) -> None:
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
        (("enrol", "x", "bob.pem.pub", "--role", "aprover"), "there is no role 'aprover'"),
        (("enrol", "x", "none.pub", "--role", "admin"), "no public key"),
        (("key", "--kind", "rsa"), "'rsa' is no kind of key"),
        (("promote", f"{NAME}@1", "production", "--break-glass"), "go together"),
        (("promote", f"{NAME}@1", "production", "--reason", "x"), "go together"),
        (("promote", f"{NAME}@1", "Production"), "is no name of a channel"),
        (("promote", f"{NAME}@1", "prodction"), "Did you mean 'production'?"),
        (("approve", f"{NAME}@1", "prodution", "--reason", "x", "--key", "bob.pem"), "Did you mean 'production'?"),
        (
            ("promote", f"{NAME}@1", "production", "--break-glass", "--reason", "x", "--expires", "900d"),
            "lasts 7 days at most",
        ),
        (("revoke", f"{NAME}@1", "--reason", " "), "nothing is said"),
        (("export", f"{NAME}@1", "-o", "bundle"), "is written as a .tar file"),
        (("revocations", "-o", "revoked.tar"), "are written as a .json file"),
        (("import", "none.json"), "there is no such file"),
        (("clock", "--reason", "x"), "which is not ahead of this machine's clock"),
        (("audit", "cell7/other"), "there is no adapter of that name"),
        (("policy", "bob.pem.pub"), "the policy is empty, or no mapping"),
        (("promote", f"{NAME}@1", "production", "--generation", "7"), "the channel is at generation 1, not 7"),
        (("promote", NAME, "production"), "names no release"),
        (("promote", "cell7/frnt/pick@1", "production"), f"Did you mean '{NAME}'?"),
        (("rollback", f"{NAME}@1", "--reason", "x"), "names no channel"),
        (("rollback", f"{NAME}@production", "--reason", "x"), "it never held another before"),
        (("evaluate", f"{NAME}@1", "nothing"), "no results of an evaluation here"),
        (("approve", f"{NAME}@1", "production", "--reason", "x"), "ann made it, and cannot approve it"),
        (("approve", f"{NAME}@1", "production", "--reason", "x", "--expires", "soon"), "is no length of time"),
        (("expect", "cell7", "bases", "0" * 64, "--reason", "x"), "Did you mean 'base'?"),
        (("expect", "cell7", "base", "none", "--reason", "x"), "is no digest and no file"),
        (("lineage", f"{NAME}@1", "--draw", "a.png"), ".png is not drawn"),
        (("add", "Cell7", "."), "is no name of an adapter"),
        (("add", NAME, "."), "there is no adapter here"),
        (("label", NAME, "robot"), "is no label"),
        (("show", "cell7/other"), "there is no adapter of that name"),
        (("import", "none.tar"), "there is no such file"),
        (("pull", NAME, "team/pick@main"), "names no commit"),
        (("join", "0" * 12, "--database", "sqlite:///x.db", "--store", "."), "there is a registry here already"),
        (("init",), "there is a registry here already"),
        (("retire", "00000000", "--reason", "x"), "0 keys begin with"),
        (("audit", "--registry", "nowhere"), "there is no registry here"),
        (("list", "--regstry", "x"), "Did you mean"),
    ],
)
def test_what_is_wrong_is_one_line(in_process: Verb, live: Path, arguments: tuple[str, ...], what: str) -> None:
    assert what in one_line(in_process, "registry", *arguments)


def test_without_a_registry_it_says_how_to_begin(in_process: Verb) -> None:
    assert "worldtune registry init" in one_line(in_process, "registry", "list")
    assert "worldtune registry init --person ann" in in_process("registry").out
