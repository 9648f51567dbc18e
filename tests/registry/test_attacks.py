"""Attacks found in a review: rules, readers and exit codes that earlier code did not cover."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from conftest import WORLDTUNE
from worldtune.core.files import digest_bytes
from worldtune.errors import RegistryError, TamperError, UserError
from worldtune.registry.events.events import ChannelUpdated, Labeled
from worldtune.registry.exchange.import_release import import_release
from worldtune.registry.exchange.oci_bundle import export_release, unpack_bundle
from worldtune.registry.exchange.signed_checkpoint import PREDICATE_TYPE as HEAD
from worldtune.registry.exchange.signed_checkpoint import check_signed_head
from worldtune.registry.governance.admin import retire_key, set_policy
from worldtune.registry.governance.approval import approve, revoke_release, withdraw_approval
from worldtune.registry.governance.promotion import promote, rollback
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.resolve import resolve
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.registry import CONFIG_FILE, create_registry, join_registry
from worldtune.registry.releases.add import ReleaseMetadata, add_release
from worldtune.registry.releases.checkout import resolve_adapter
from worldtune.registry.signing.dsse import make_statement, sign
from worldtune.registry.signing.keys import generate_key
from worldtune.registry.store.blob_store import BlobStore
from worldtune.registry.store.manifest import FileEntry

from .conftest import NAME, Team
from .log_support import Row, append_unchecked, find_faults, forget_log, insert_rows, read_rows, tamper
from .prepared import LATER, PRODUCTION, attach_evidence, make_approved_release, make_release
from .test_adversary import forged, repacked, sent, statements


def test_too_large_event_is_not_written(local: Team, away: Team, tmp_path: Path) -> None:
    """An imported event holds another event, so it is twice as large."""
    tar, release = sent(local, tmp_path)
    labels = {f"label {number}": "x" * 1900 for number in range(1300)}
    large = forged(release.model_copy(update={"labels": labels}), local["sam"])
    with pytest.raises(RegistryError, match="larger than 4 MiB"):
        import_release(away.registry, away["sam"], repacked(tar, tmp_path / "large.tar", large))
    forget_log(away.registry)
    with away.registry.view() as state:
        assert not list(state.releases.items())


def test_invalid_expiry_has_no_effect(local: Team) -> None:
    release = make_release(local)
    with local.registry.view() as state:
        policy = current_policy(state).digest
    of = {"channel": "production", "generation": 1, "action": "break-glass", "reason": "x", "policy": policy}
    move = ChannelUpdated.model_validate(release.identity | of | {"expires": LATER})
    fact = move.model_dump(mode="json") | {"expires": "2026-99-99T00:00:00.000000Z"}
    append_unchecked(local.registry, local["ann"], move, fact=fact)
    assert "no effect (an unreadable channel_updated)" in find_faults(local)
    with local.registry.view() as state, pytest.raises(RegistryError, match="has no channel production"):
        resolve(state, PRODUCTION)


@pytest.mark.parametrize("kind", [[], {}, None, 5])
def test_event_kind_that_is_not_text_gives_one_line_error(local: Team, kind: object) -> None:
    make_release(local)
    append_unchecked(local.registry, local["sam"], Labeled(adapter=NAME, labels={"a": "b"}), kind=kind)
    with pytest.raises(TamperError, match="this worldtune does not know the event kind"), local.registry.view():
        pass


@pytest.mark.parametrize("place", ["'zz'", "x'00'"])
def test_row_sequence_that_is_not_a_number_gives_one_line_error(local: Team, place: str) -> None:
    commands = ["ALTER TABLE event RENAME TO old", "CREATE TABLE event (sequence, hash, envelope)"]
    commands += ["INSERT INTO event SELECT * FROM old", f"INSERT INTO event VALUES ({place}, 'a', 'b')"]
    tamper(local.registry, *commands)
    with pytest.raises(TamperError, match="sequence is not a number"), local.registry.view():
        pass


@pytest.mark.parametrize("predicate", [{}, {"registry": "../x"}, {"registry": 5}])
def test_log_without_a_valid_first_event_is_not_joined(
    local: Team, tmp_path: Path, predicate: dict[str, object]
) -> None:
    first = sign(make_statement({"a": "b"}, "x", predicate), local["ann"])
    tamper(local.registry, "DELETE FROM event WHERE sequence = 1")
    insert_rows(local.registry, Row(1, digest_bytes(first), first.decode()))
    with pytest.raises(TamperError, match="creates no registry"):
        join_registry(tmp_path / "j", local.registry.config.founder, str(local.registry.engine.url), str(tmp_path))


def test_head_with_an_impossible_position_gives_one_line_error(local: Team, tmp_path: Path) -> None:
    of = {"registry": local.registry.config.registry, "sequence": 2**70, "hash": "0" * 64, "at": "x", "actor": "sam"}
    (tmp_path / "head.json").write_bytes(sign(make_statement({"head": "0" * 64}, HEAD, of), local["sam"]))
    with pytest.raises(TamperError, match="not a signed head"):
        check_signed_head(local.registry, tmp_path / "head.json")


def test_endless_blob_is_not_read_fully(tmp_path: Path) -> None:
    store = BlobStore(str(tmp_path / "store"))
    entry = FileEntry(name="a.json", size=5, sha256=store.put_bytes(b"bytes"))
    os.truncate(store.path(entry.sha256), 1 << 43)
    with pytest.raises(TamperError, match=r"the bytes of a\.json were changed"):
        store.check(entry)
    with pytest.raises(TamperError, match=r"the bytes of a\.json were changed"):
        store.copy_to(entry, tmp_path / "out")
    assert (tmp_path / "out").stat().st_size <= 6


def headers(kind: bytes) -> bytes:
    """Return a tar of many headers that each describe the next."""
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
def test_tar_that_crashes_tarfile_gives_one_line_error(tmp_path: Path, make: object, kind: bytes) -> None:
    assert callable(make)
    (tmp_path / "t.tar").write_bytes(make(kind))
    (tmp_path / "folder").mkdir()
    with pytest.raises(RegistryError, match="the tar cannot be unpacked"):
        unpack_bundle(tmp_path / "t.tar", tmp_path / "folder")


def test_withdrawal_by_a_stolen_key_stays_valid(local: Team, away: Team, tmp_path: Path) -> None:
    """bob has a key at each site. His earlier approval by the other key is not restored."""
    release = make_approved_release(local)
    export_release(local.registry, release.name, tmp_path / "all.tar")
    alone = repacked(tmp_path / "all.tar", tmp_path / "alone.tar", statements(tmp_path / "all.tar")[0])
    here = import_release(away.registry, away["sam"], alone).release.fact
    approve(away.registry, away["bob"], here.name, "production", "good")
    withdraw_approval(away.registry, away["bob"], here.name, "production", "no")
    retire_key(away.registry, away["ann"], away["bob"].public_key.keyid, "gone", stolen=True)
    import_release(away.registry, away["sam"], tmp_path / "all.tar")
    with pytest.raises(RegistryError, match="bob withdrew it"):
        promote(away.registry, away["sam"], here.name, "production")


def test_theft_does_not_restore_a_rolled_back_release(local: Team) -> None:
    first, second, third = make_approved_release(local), make_release(local), make_approved_release(local)
    attach_evidence(local, second)
    approve(local.registry, local["bea"], second.name, "production", "good")
    for release in (first, second, third):
        promote(local.registry, local["sam"], release.name, "production")
    rollback(local.registry, local["ann"], PRODUCTION, "it hits people")
    retire_key(local.registry, local["ann"], local["bea"].public_key.keyid, "gone", stolen=True)
    with local.registry.view() as state, pytest.raises(RegistryError, match="no longer has the channel production"):
        resolve(state, PRODUCTION)
    promote(local.registry, local["sam"], first.name, "production")
    with local.registry.view() as state:
        assert resolve(state, PRODUCTION).name == first.name


def test_imported_approval_does_not_cancel_a_local_one(local: Team, away: Team, tmp_path: Path) -> None:
    rule = ChannelRule(approvals=1, evidence=True)
    set_policy(local.registry, local["ann"], Policy(channels={"production": rule, "canary": rule, "*": ChannelRule()}))
    release = make_approved_release(local)
    export_release(local.registry, release.name, tmp_path / "all.tar")
    alone = repacked(tmp_path / "all.tar", tmp_path / "alone.tar", *statements(tmp_path / "all.tar")[:2])
    here = import_release(away.registry, away["sam"], alone).release.fact
    approve(away.registry, local["bob"], here.name, "production", "good")
    import_release(away.registry, away["sam"], tmp_path / "all.tar")
    promote(away.registry, away["sam"], here.name, "production")


def test_adding_bytes_again_does_not_hide_a_revoked_parent(local: Team) -> None:
    parent, source = make_release(local), local.another()
    add_release(local.registry, local["sam"], "x/a", source)
    add_release(local.registry, local["ann"], "x/b", source, ReleaseMetadata(parent=parent.name))
    add_release(local.registry, local["ann"], "x/c", local.another(), ReleaseMetadata(parent="x/b@1"))
    revoke_release(local.registry, local["bob"], parent.name, "bad data")
    for name in ("x/a@1", "x/b@1", "x/c@1"):
        with pytest.raises(RegistryError, match="is revoked: bad data"):
            promote(local.registry, local["ann"], name, "staging")


@pytest.mark.parametrize("results", ["absent", "of a fail"])
def test_evidence_that_contradicts_its_results_is_rejected(local: Team, results: str) -> None:
    release = make_release(local)
    if results == "absent":
        attach_evidence(local, release, results="7" * 64)
    else:
        attach_evidence(local, release, outcome="fail")
        with local.registry.view() as state:
            (fail,) = state.evaluations[release.digest]
        attach_evidence(local, release, results=fail.fact.results)
    approve(local.registry, local["bob"], release.name, "production", "good")
    with pytest.raises(UserError, match=r"is missing|its results give fail"):
        promote(local.registry, local["sam"], release.name, "production")


@pytest.mark.parametrize("wrong", ["person", "database"])
def test_failed_creation_can_be_repeated(tmp_path: Path, wrong: str) -> None:
    signer, folder = generate_key(tmp_path / "ann.pem"), tmp_path / "registry"
    person = "a\nb" if wrong == "person" else "ann"
    with pytest.raises(RegistryError):
        create_registry(folder, person, signer, f"sqlite:///{tmp_path}/no/log.db" if wrong == "database" else None)
    assert not (folder / CONFIG_FILE).exists()
    assert len(read_rows(create_registry(folder, "ann", signer))) == 2


def test_export_that_cannot_be_signed_writes_no_file(local: Team, tmp_path: Path) -> None:
    from worldtune.cli.main import app

    release, folder = make_release(local), local.registry.folder
    options = ["--openssf", "--registry", folder, "--key", folder / "keys" / "sam.pem"]
    arguments = ["registry", "export", release.name, "-o", tmp_path / "out" / "a.tar", *options]
    with pytest.raises(RegistryError, match=r"EC keys only|not installed"):
        CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False, standalone_mode=False)
    assert not (tmp_path / "out").exists()


def test_written_event_that_cannot_be_printed_does_not_exit_with_2(local: Team) -> None:
    make_release(local)
    folder = local.registry.folder
    options = ["--registry", str(folder), "--key", str(folder / "keys" / "sam.pem")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*WORLDTUNE, "registry", "label", NAME, "a=b", *options], stdout=full, timeout=300)
    with local.registry.view() as state:
        assert state.labels[NAME] == {"a": "b"}
    assert done.returncode != 2


def test_cached_release_works_on_a_read_only_cache(local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    release = make_release(local)
    used = resolve_adapter(release.name, print, local.registry.folder)
    monkeypatch.setattr(
        "worldtune.registry.releases.checkout.lock_folder", lambda *_, **__: pytest.fail("it is written")
    )
    assert resolve_adapter(release.name, print, local.registry.folder) == used
