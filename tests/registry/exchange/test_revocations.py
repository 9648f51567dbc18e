"""One site's revocations apply at another to the same bytes, even before they are present."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.core.canonical_json import canonical_json
from worldtune.errors import RegistryError, TamperError
from worldtune.registry import clock
from worldtune.registry.events.events import BaseRevoked, ReleaseAdded, ReleaseRevoked
from worldtune.registry.exchange.import_release import import_release
from worldtune.registry.exchange.oci_bundle import export_release
from worldtune.registry.exchange.revocations import import_revocations, write_revocations
from worldtune.registry.governance.admin import retire_key
from worldtune.registry.governance.approval import approve, revoke_base, revoke_release
from worldtune.registry.governance.promotion import BreakGlass, promote
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.resolve import check_not_revoked, resolve
from worldtune.registry.releases.add import add_release
from worldtune.registry.releases.checkout import resolve_adapter
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import append_unchecked, delete, find_faults, forget_log, list_events
from ..prepared import make_approved_release, make_release

GLASS = BreakGlass("down", timedelta(hours=1))


@pytest.fixture
def revoked_file(local: Team, tmp_path: Path) -> Path:
    """The first site's revocations file, after it revoked its second release."""
    for _ in range(2):
        add_release(local.registry, local["sam"], NAME, local.another())
    export_release(local.registry, f"{NAME}@2", tmp_path / "two.tar")
    revoke_release(local.registry, local["bob"], f"{NAME}@2", "it hits the fixture")
    assert len(write_revocations(local.registry, tmp_path / "revoked.json")) == 1
    return tmp_path / "revoked.json"


def revoked(team: Team) -> list[ReleaseRevoked]:
    return [event.fact for event in list_events(team.registry, ReleaseRevoked)]


def test_imported_revocation_blocks_a_release_in_use(
    local: Team, away: Team, revoked_file: Path, tmp_path: Path
) -> None:
    import_release(away.registry, away["sam"], tmp_path / "two.tar", "line/wrist/pick")
    promote(away.registry, away["sam"], "line/wrist/pick@1", "staging")
    imported = import_revocations(away.registry, away["sam"], revoked_file)
    assert imported.rejected == ()
    (event,) = imported.revoked
    summary = f"line/wrist/pick@1 ({event.fact.digest[:12]}) is REVOKED by another registry: it hits the fixture"
    assert event.fact.summary == summary
    with away.registry.view() as state, pytest.raises(RegistryError, match="line/wrist/pick@1 is revoked: it hits"):
        resolve(state, "line/wrist/pick@staging")
    assert verify(away.registry).faults == []


def test_revoked_bytes_cannot_be_added_later(local: Team, away: Team, revoked_file: Path, tmp_path: Path) -> None:
    assert import_revocations(away.registry, away["sam"], revoked_file).revoked[0].fact.name == f"{NAME}@2"
    with pytest.raises(RegistryError, match="these bytes were revoked as cell7/front/pick@2: it hits the fixture"):
        import_release(away.registry, away["sam"], tmp_path / "two.tar")
    with pytest.raises(RegistryError, match="these bytes were revoked"):
        add_release(away.registry, away["sam"], "another/name", local.folder / "adapter-2")
    assert verify(away.registry).faults == []


def test_known_and_own_revocations_change_nothing(local: Team, away: Team, revoked_file: Path, tmp_path: Path) -> None:
    import_revocations(away.registry, away["sam"], revoked_file)
    again = import_revocations(away.registry, away["sam"], revoked_file)
    assert (again.revoked, again.rejected) == ((), ())
    write_revocations(away.registry, tmp_path / "passed-on.json")
    assert (tmp_path / "passed-on.json").read_bytes() == revoked_file.read_bytes()
    own = import_revocations(local.registry, local["sam"], tmp_path / "passed-on.json")
    assert (own.revoked, own.rejected) == ((), ())


def test_revocation_by_a_retired_key_is_rejected(local: Team, away: Team, revoked_file: Path) -> None:
    retire_key(away.registry, away["ann"], local["bob"].public_key.keyid, "he left")
    imported = import_revocations(away.registry, away["sam"], revoked_file)
    assert imported.revoked == ()
    assert "the key of bob was retired" in imported.rejected[0]
    with pytest.raises(RegistryError, match="eva has the role evaluator; this needs submitter or approver or admin"):
        import_revocations(away.registry, away["eva"], _signed_by_another(revoked_file, local))


def _signed_by_another(revoked_file: Path, local: Team) -> Path:
    """Revoke a third release by bea, an approver, and write the file again."""
    add_release(local.registry, local["sam"], NAME, local.another())
    revoke_release(local.registry, local["bea"], f"{NAME}@3", "it too")
    revoked_file.unlink()
    write_revocations(local.registry, revoked_file)
    return revoked_file


def test_imported_revocation_of_a_stolen_key_stays_valid(local: Team, away: Team, revoked_file: Path) -> None:
    import_revocations(away.registry, away["sam"], revoked_file)
    retire_key(away.registry, away["ann"], local["bob"].public_key.keyid, "stolen", stolen=True)
    with pytest.raises(RegistryError, match="these bytes were revoked"):
        add_release(away.registry, away["sam"], NAME, local.folder / "adapter-2")


@pytest.mark.parametrize("part", ["payload", "sig"])
def test_changed_revocation_is_rejected(away: Team, revoked_file: Path, part: str) -> None:
    content = json.loads(revoked_file.read_text())
    statement = content["statements"][0]
    held = statement if part == "payload" else statement["signatures"][0]
    text = held[part]
    held[part] = text[:-9] + ("A" if text[-9] != "A" else "B") + text[-8:]
    revoked_file.write_bytes(canonical_json(content))
    with away.registry.view() as state:
        before = state.head
    imported = import_revocations(away.registry, away["sam"], revoked_file)
    assert imported.revoked == ()
    assert len(imported.rejected) == 1
    with away.registry.view() as state:
        assert state.head == before


def test_forged_revocation_has_no_effect(local: Team, away: Team, revoked_file: Path, tmp_path: Path) -> None:
    """The importer writes the event, but only a valid signed statement in it counts."""
    import_release(away.registry, away["sam"], _another_tar(local, tmp_path))
    imported = import_revocations(away.registry, away["sam"], revoked_file).revoked[0].fact
    with away.registry.view() as state:
        mine = resolve(state, f"{NAME}@1").release.fact
    for statement in (imported.statement, "x"):
        forged = imported.model_copy(update=mine.identity | {"statement": statement})
        with pytest.raises(RegistryError), away.registry.writer(away["bea"]) as writer:
            writer.append(forged)
        append_unchecked(away.registry, away["bea"], forged)
    with away.registry.view() as state:
        assert resolve(state, f"{NAME}@1").release.fact == mine
    assert len(write_revocations(away.registry, tmp_path / "passed-on.json")) == 1
    assert "differs from what bob signed" in find_faults(away)
    assert len(verify(away.registry).faults) == 2


def test_second_signers_revocation_is_also_stored(local: Team, away: Team, revoked_file: Path, tmp_path: Path) -> None:
    import_release(away.registry, away["sam"], tmp_path / "two.tar")
    import_revocations(away.registry, away["sam"], revoked_file)
    assert revoke_again(away).fact.reason == "here too"
    assert [fact.statement is None for fact in revoked(away)] == [False, True]
    with pytest.raises(RegistryError, match="it is already revoked: here too"):
        revoke_again(away)


def revoke_again(team: Team) -> Event[ReleaseRevoked]:
    """Revoke the imported release by this site's bob."""
    (release,) = list_events(team.registry, ReleaseAdded)
    return revoke_release(team.registry, team["bob"], release.fact.name, "here too")


def test_own_revocation_missing_from_the_log_is_detected(local: Team, revoked_file: Path) -> None:
    delete(local.registry, *list_events(local.registry, ReleaseRevoked))
    forget_log(local.registry)
    with pytest.raises(TamperError, match="from this registry is no longer in its log"):
        import_revocations(local.registry, local["sam"], revoked_file)


def test_import_with_a_clock_behind_is_rejected(
    away: Team, revoked_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = clock.utc_now() - timedelta(days=1)
    monkeypatch.setattr(clock, "utc_now", lambda: earlier)
    with pytest.raises(RegistryError, match="this machine's clock shows"):
        import_revocations(away.registry, away["sam"], revoked_file)


def test_existing_file_is_not_overwritten(local: Team, revoked_file: Path) -> None:
    with pytest.raises(RegistryError, match="the file already exists"):
        write_revocations(local.registry, revoked_file)


def _another_tar(local: Team, tmp_path: Path) -> Path:
    export_release(local.registry, f"{NAME}@1", tmp_path / "one.tar")
    return tmp_path / "one.tar"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "the file's format is not 'worldtune revocations 1'"),
        (b'{"format": "worldtune revocations 1"}', "the file's format is not"),
        (b'{"format": "worldtune revocations 1", "format": "x", "statements": []}', "twice"),
        (b'{"format": "worldtune revocations 2", "statements": []}', "the file's format is not"),
        (b'{"format": "worldtune revocations 1", "statements": [NaN]}', "NaN is not a number"),
        (b'{"format": "worldtune revocations 1", "statements": ["\\ud800"]}', "a string holds"),
    ],
)
def test_invalid_revocations_file_is_rejected(away: Team, tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "no.json").write_bytes(content)
    with pytest.raises(RegistryError, match=why):
        import_revocations(away.registry, away["sam"], tmp_path / "no.json")


class TestBase:
    """The revocation of a base applies to all its releases, current and later."""

    def test_revoked_base_blocks_current_and_later_releases(self, team: Team) -> None:
        release, source = make_approved_release(team), team.another()
        promote(team.registry, team["sam"], release.name, "production")
        export_release(team.registry, release.name, team.folder / "one.tar")
        event = revoke_base(team.registry, team["bob"], release.base[:12], "its VAE was converted wrongly")
        assert event.fact.base == release.base
        why = "revoked with its base .* its VAE was converted wrongly"
        for reference in (release.name, f"{NAME}@production", f"{NAME}@sha256:{release.digest}"):
            with team.registry.view() as state, pytest.raises(RegistryError, match=why):
                resolve(state, reference)
        for act in (
            lambda: promote(team.registry, team["sam"], release.name, "staging"),
            lambda: promote(team.registry, team["ann"], release.name, "staging", break_glass=GLASS),
            lambda: approve(team.registry, team["bea"], release.name, "production", "still"),
            lambda: export_release(team.registry, release.name, team.folder / "two.tar"),
            lambda: resolve_adapter(release.name, pytest.fail, team.registry.folder),
        ):
            with pytest.raises(RegistryError, match=why):
                act()
        with pytest.raises(RegistryError, match=r"its base \w+ is revoked: its VAE was converted wrongly"):
            add_release(team.registry, team["sam"], "cell8/pick", source)
        assert verify(team.registry).is_valid

    def test_base_is_revoked_once_and_by_an_approver(self, local: Team) -> None:
        base = make_release(local).base
        with pytest.raises(RegistryError, match="sam has the role submitter; this needs approver"):
            revoke_base(local.registry, local["sam"], base, "bad")
        revoke_base(local.registry, local["bob"], f"sha256:{base}", "bad")
        with pytest.raises(RegistryError, match="it is already revoked: bad"):
            revoke_base(local.registry, local["bea"], base, "again")

    @pytest.mark.parametrize("begins", ["", "a", "0" * 12, "0" * 63, "sha256:", "x" * 64, "%", "\n" * 64])
    def test_invalid_base_prefix_is_rejected(self, local: Team, begins: str) -> None:
        make_release(local)
        with pytest.raises(RegistryError):
            revoke_base(local.registry, local["bob"], begins, "bad")
        assert list_events(local.registry, BaseRevoked) == []

    def test_unused_base_is_revoked_by_its_full_digest(self, local: Team) -> None:
        base = make_release(local).base
        revoke_base(local.registry, local["bob"], "7" * 64, "heard of it")
        with local.registry.view() as state:
            assert resolve(state, f"{NAME}@1").release.fact.base == base

    def test_base_revocation_applies_at_another_site(self, local: Team, away: Team, tmp_path: Path) -> None:
        release = make_release(local)
        export_release(local.registry, release.name, tmp_path / "one.tar")
        own = add_release(away.registry, away["sam"], "line/pick", local.another()).fact
        promote(away.registry, away["sam"], own.name, "staging")
        revoke_base(local.registry, local["bob"], release.base, "bad")
        assert len(write_revocations(local.registry, tmp_path / "revoked.json")) == 1
        (imported,) = import_revocations(away.registry, away["sam"], tmp_path / "revoked.json").revoked
        assert "by another registry: bad" in imported.fact.summary
        with away.registry.view() as state, pytest.raises(RegistryError, match="is revoked with its base"):
            resolve(state, "line/pick@staging")
        with pytest.raises(RegistryError, match=r"its base \w+ is revoked: bad"):
            import_release(away.registry, away["sam"], tmp_path / "one.tar")
        again = import_revocations(away.registry, away["sam"], tmp_path / "revoked.json")
        assert (again.revoked, again.rejected) == ((), ())
        write_revocations(away.registry, tmp_path / "on.json")
        assert (tmp_path / "on.json").read_bytes() == (tmp_path / "revoked.json").read_bytes()
        revoke_base(away.registry, away["bob"], release.base, "here too")
        assert verify(away.registry).is_valid

    def test_base_revoked_by_a_stolen_key_stays_revoked(self, local: Team) -> None:
        release = make_release(local)
        revoke_base(local.registry, local["bob"], release.base, "bad")
        retire_key(local.registry, local["ann"], local["bob"].public_key.keyid, "gone", stolen=True)
        with local.registry.view() as state, pytest.raises(RegistryError, match="is revoked with its base"):
            resolve(state, release.name)

    def test_child_of_a_parent_on_a_revoked_base_is_blocked(self, local: Team) -> None:
        parent = make_release(local)
        child = parent.model_copy(update={"number": 2, "digest": "1" * 64, "base": "9" * 64, "parent": parent.digest})
        append_unchecked(local.registry, local["sam"], child)
        revoke_base(local.registry, local["bob"], parent.base, "bad")
        with local.registry.view() as state, pytest.raises(RegistryError, match=r"its ancestor .* is revoked: bad"):
            check_not_revoked(state, child)


def test_missing_file_is_reported(away: Team, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no such file"):
        import_revocations(away.registry, away["sam"], tmp_path / "no.json")
