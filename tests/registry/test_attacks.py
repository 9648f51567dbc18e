"""What a review tried that the rules, the readers and the exit codes had not thought of."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import WORLDTUNE
from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.files import digest_bytes
from worldtune.registry.add import About, add
from worldtune.registry.approval import approve, revoke, withdraw
from worldtune.registry.bring_in import bring_in
from worldtune.registry.bundle import export, unpack
from worldtune.registry.enrolment import retire, set_policy
from worldtune.registry.facts import Labelled, Moved
from worldtune.registry.heads import KIND as HEAD
from worldtune.registry.heads import check_head
from worldtune.registry.keys import make_key
from worldtune.registry.manifest import FileEntry
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import promote, rollback
from worldtune.registry.registry import PLACE, found_registry, join_registry
from worldtune.registry.releases import resolve
from worldtune.registry.standing import policy_now
from worldtune.registry.statements import sign, statement
from worldtune.registry.store import Store
from worldtune.registry.use import use

from .conftest import NAME, Team
from .log_support import Row, faults_of, forget, insert_rows, rogue, rows, tampered
from .prepared import LATER, PRODUCTION, judged, ready, released
from .test_adversary import forged, repacked, sent, statements


def test_event_that_nobody_could_read_is_not_written(local: Team, away: Team, tmp_path: Path) -> None:
    """One that came with an import holds another, and is twice as large."""
    tar, release = sent(local, tmp_path)
    labels = {f"label {number}": "x" * 1900 for number in range(1300)}
    large = forged(release.model_copy(update={"labels": labels}), local["sam"])
    with pytest.raises(RegistryError, match="larger than the 4 MiB"):
        bring_in(away.registry, away["sam"], repacked(tar, tmp_path / "large.tar", large))
    forget(away.registry)
    with away.registry.view() as state:
        assert not list(state.releases.items())


def test_end_that_is_no_time_stops_nobody(local: Team) -> None:
    release = released(local)
    with local.registry.view() as state:
        policy = policy_now(state).digest
    of = {"channel": "production", "generation": 1, "how": "break-glass", "reason": "x", "policy": policy}
    move = Moved.model_validate(release.identity | of | {"expires": LATER})
    fact = move.model_dump(mode="json") | {"expires": "2026-99-99T00:00:00.000000Z"}
    rogue(local.registry, local["ann"], move, fact=fact)
    assert "no effect (no moved that can be read)" in faults_of(local)
    with local.registry.view() as state, pytest.raises(RegistryError, match="has no channel production"):
        resolve(state, PRODUCTION)


@pytest.mark.parametrize("kind", [[], {}, None, 5])
def test_event_of_a_kind_that_is_no_text_is_one_line(local: Team, kind: object) -> None:
    released(local)
    rogue(local.registry, local["sam"], Labelled(adapter=NAME, labels={"a": "b"}), kind=kind)
    with pytest.raises(TamperError, match="of a kind that this worldtune does not know"), local.registry.view():
        pass


@pytest.mark.parametrize("place", ["'zz'", "x'00'"])
def test_table_whose_places_are_no_numbers_is_one_line(local: Team, place: str) -> None:
    commands = ["ALTER TABLE event RENAME TO old", "CREATE TABLE event (sequence, hash, envelope)"]
    commands += ["INSERT INTO event SELECT * FROM old", f"INSERT INTO event VALUES ({place}, 'a', 'b')"]
    tampered(local.registry, *commands)
    with pytest.raises(TamperError, match="no place that is a number"), local.registry.view():
        pass


@pytest.mark.parametrize("predicate", [{}, {"registry": "../x"}, {"registry": 5}])
def test_log_that_founds_no_registry_is_not_joined(local: Team, tmp_path: Path, predicate: dict[str, object]) -> None:
    first = sign(statement({"a": "b"}, "x", predicate), local["ann"])
    tampered(local.registry, "DELETE FROM event WHERE sequence = 1")
    insert_rows(local.registry, Row(1, digest_bytes(first), first.decode()))
    with pytest.raises(TamperError, match="it founds no registry"):
        join_registry(tmp_path / "j", local.registry.place.founder, str(local.registry.engine.url), str(tmp_path))


def test_head_of_a_place_that_no_log_has_is_one_line(local: Team, tmp_path: Path) -> None:
    of = {"registry": local.registry.place.registry, "sequence": 2**70, "hash": "0" * 64, "at": "x", "actor": "sam"}
    (tmp_path / "head.json").write_bytes(sign(statement({"head": "0" * 64}, HEAD, of), local["sam"]))
    with pytest.raises(TamperError, match="it is no head"):
        check_head(local.registry, tmp_path / "head.json")


def test_blob_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    entry = FileEntry(name="a.json", size=5, sha256=store.put_bytes(b"bytes"))
    os.truncate(store.path(entry.sha256), 1 << 43)
    with pytest.raises(TamperError, match=r"the bytes of a\.json are others"):
        store.check(entry)
    with pytest.raises(TamperError, match=r"the bytes of a\.json are others"):
        store.copy_to(entry, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size <= 6


def headers(kind: bytes) -> bytes:
    """A tar of many headers that are each about the next."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, 4
    return (header.tobuf(tarfile.GNU_FORMAT) + b"abc\0".ljust(512, b"\0")) * 1500 + tarfile.TarInfo("x").tobuf()


def negative(_: bytes) -> bytes:
    header = bytearray(tarfile.TarInfo("oci-layout").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + b"\xfc\x00"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + b"\0" * 1024


@pytest.mark.parametrize(("make", "kind"), [(headers, b"L"), (headers, b"K"), (headers, b"x"), (negative, b"")])
def test_tar_that_breaks_its_library_is_one_line(tmp_path: Path, make: object, kind: bytes) -> None:
    assert callable(make)
    (tmp_path / "t.tar").write_bytes(make(kind))
    (tmp_path / "folder").mkdir()
    with pytest.raises(RegistryError, match="no tar file that can be unpacked"):
        unpack(tmp_path / "t.tar", tmp_path / "folder")


def test_what_was_taken_back_stays_so_when_the_key_is_stolen(local: Team, away: Team, tmp_path: Path) -> None:
    """bob has a key of each site. What he said before, elsewhere and by the other key, does not come back."""
    release = ready(local)
    export(local.registry, release.name, tmp_path / "all.tar")
    alone = repacked(tmp_path / "all.tar", tmp_path / "alone.tar", statements(tmp_path / "all.tar")[0])
    here = bring_in(away.registry, away["sam"], alone).release.fact
    approve(away.registry, away["bob"], here.name, "production", "good")
    withdraw(away.registry, away["bob"], here.name, "production", "no")
    retire(away.registry, away["ann"], away["bob"].public_key.keyid, "gone", stolen=True)
    bring_in(away.registry, away["sam"], tmp_path / "all.tar")
    with pytest.raises(RegistryError, match="bob took it back"):
        promote(away.registry, away["sam"], here.name, "production")


def test_release_that_was_rolled_away_from_does_not_come_back_by_a_theft(local: Team) -> None:
    first, second, third = ready(local), released(local), ready(local)
    judged(local, second)
    approve(local.registry, local["bea"], second.name, "production", "good")
    for release in (first, second, third):
        promote(local.registry, local["sam"], release.name, "production")
    rollback(local.registry, local["ann"], PRODUCTION, "it hits people")
    retire(local.registry, local["ann"], local["bea"].public_key.keyid, "gone", stolen=True)
    with local.registry.view() as state, pytest.raises(RegistryError, match="has no channel production any more"):
        resolve(state, PRODUCTION)
    promote(local.registry, local["sam"], first.name, "production")
    with local.registry.view() as state:
        assert resolve(state, PRODUCTION).name == first.name


def test_approval_under_another_sites_policy_cancels_none_of_here(local: Team, away: Team, tmp_path: Path) -> None:
    rule = Rule(approvals=1, evidence=True)
    set_policy(local.registry, local["ann"], Policy(channels={"production": rule, "canary": rule, "*": Rule()}))
    release = ready(local)
    export(local.registry, release.name, tmp_path / "all.tar")
    alone = repacked(tmp_path / "all.tar", tmp_path / "alone.tar", *statements(tmp_path / "all.tar")[:2])
    here = bring_in(away.registry, away["sam"], alone).release.fact
    approve(away.registry, local["bob"], here.name, "production", "good")
    bring_in(away.registry, away["sam"], tmp_path / "all.tar")
    promote(away.registry, away["sam"], here.name, "production")


def test_bytes_that_were_added_again_do_not_hide_what_they_came_from(local: Team) -> None:
    parent, source = released(local), local.another()
    add(local.registry, local["sam"], "x/a", source)
    add(local.registry, local["ann"], "x/b", source, About(parent=parent.name))
    add(local.registry, local["ann"], "x/c", local.another(), About(parent="x/b@1"))
    revoke(local.registry, local["bob"], parent.name, "bad data")
    for name in ("x/a@1", "x/b@1", "x/c@1"):
        with pytest.raises(RegistryError, match="which is revoked: bad data"):
            promote(local.registry, local["ann"], name, "staging")


@pytest.mark.parametrize("results", ["absent", "of a fail"])
def test_evidence_whose_results_do_not_say_so_lets_nothing_in(local: Team, results: str) -> None:
    release = released(local)
    if results == "absent":
        judged(local, release, results="7" * 64)
    else:
        judged(local, release, outcome="fail")
        with local.registry.view() as state:
            (fail,) = state.evaluations[release.digest]
        judged(local, release, results=fail.fact.results)
    approve(local.registry, local["bob"], release.name, "production", "good")
    with pytest.raises(UserError, match=r"is missing|its results say fail"):
        promote(local.registry, local["sam"], release.name, "production")


@pytest.mark.parametrize("wrong", ["person", "database"])
def test_registry_that_cannot_be_founded_leaves_nothing_in_the_way(tmp_path: Path, wrong: str) -> None:
    signer, folder = make_key(tmp_path / "ann.pem"), tmp_path / "registry"
    person = "a\nb" if wrong == "person" else "ann"
    with pytest.raises(RegistryError):
        found_registry(folder, person, signer, f"sqlite:///{tmp_path}/no/log.db" if wrong == "database" else None)
    assert not (folder / PLACE).exists()
    assert len(rows(found_registry(folder, "ann", signer))) == 2


def test_export_that_cannot_be_signed_writes_nothing(local: Team, tmp_path: Path) -> None:
    from worldtune.cli.main import app

    release, folder = released(local), local.registry.folder
    options = ["--openssf", "--registry", folder, "--key", folder / "keys" / "sam.pem"]
    arguments = ["registry", "export", release.name, "-o", tmp_path / "out" / "a.tar", *options]
    with pytest.raises(RegistryError, match=r"EC keys only|not installed"):
        CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)
    assert not (tmp_path / "out").exists()


def test_what_was_written_and_cannot_be_shown_is_no_exit_code_2(local: Team) -> None:
    released(local)
    folder = local.registry.folder
    options = ["--registry", str(folder), "--key", str(folder / "keys" / "sam.pem")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*WORLDTUNE, "registry", "label", NAME, "a=b", *options], stdout=full, timeout=300)
    with local.registry.view() as state:
        assert state.labels[NAME] == {"a": "b"}
    assert done.returncode != 2


def test_release_that_is_in_the_cache_is_used_where_nothing_can_be_written(
    local: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = released(local)
    used = use(release.name, print, local.registry.folder)
    monkeypatch.setattr("worldtune.registry.use.locked", lambda *_, **__: pytest.fail("it is written"))
    assert use(release.name, print, local.registry.folder) == used
