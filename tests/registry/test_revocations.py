"""What one site revokes is told to another, and holds there for the same bytes, whether they are there yet or not."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import RegistryError, TamperError
from worldtune.registry import clock
from worldtune.registry.add import add
from worldtune.registry.approval import approve, revoke, revoke_base
from worldtune.registry.bring_in import bring_in
from worldtune.registry.bundle import export
from worldtune.registry.enrolment import retire
from worldtune.registry.facts import BaseRevoked, Released, Revoked
from worldtune.registry.log.event_log import Event
from worldtune.registry.manifest import canonical
from worldtune.registry.promotion import BreakGlass, promote
from worldtune.registry.releases import check_not_revoked, resolve
from worldtune.registry.revocations import bring_revocations, write_revocations
from worldtune.registry.use import use
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import delete, events_of, faults_of, forget, rogue
from .prepared import ready, released

GLASS = BreakGlass("down", timedelta(hours=1))


@pytest.fixture
def told(local: Team, tmp_path: Path) -> Path:
    """What the first site tells others, after it revoked its second release."""
    for _ in range(2):
        add(local.registry, local["sam"], NAME, local.another())
    export(local.registry, f"{NAME}@2", tmp_path / "two.tar")
    revoke(local.registry, local["bob"], f"{NAME}@2", "it hits the fixture")
    assert len(write_revocations(local.registry, tmp_path / "revoked.json")) == 1
    return tmp_path / "revoked.json"


def revoked(team: Team) -> list[Revoked]:
    return [event.fact for event in events_of(team.registry, Revoked)]


def test_what_is_in_use_there_is_used_no_more(local: Team, away: Team, told: Path, tmp_path: Path) -> None:
    bring_in(away.registry, away["sam"], tmp_path / "two.tar", "line/wrist/pick")
    promote(away.registry, away["sam"], "line/wrist/pick@1", "staging")
    brought = bring_revocations(away.registry, away["sam"], told)
    assert brought.left_out == ()
    (event,) = brought.revoked
    told_ = f"line/wrist/pick@1 ({event.fact.digest[:12]}) is REVOKED, as another registry says: it hits the fixture"
    assert event.fact.told == told_
    with away.registry.view() as state, pytest.raises(RegistryError, match="line/wrist/pick@1 is revoked: it hits"):
        resolve(state, "line/wrist/pick@staging")
    assert verify(away.registry).faults == []


def test_what_comes_later_is_not_taken(local: Team, away: Team, told: Path, tmp_path: Path) -> None:
    assert bring_revocations(away.registry, away["sam"], told).revoked[0].fact.name == f"{NAME}@2"
    with pytest.raises(RegistryError, match="these bytes are revoked, as cell7/front/pick@2: it hits the fixture"):
        bring_in(away.registry, away["sam"], tmp_path / "two.tar")
    with pytest.raises(RegistryError, match="these bytes are revoked"):
        add(away.registry, away["sam"], "another/name", local.folder / "adapter-2")
    assert verify(away.registry).faults == []


def test_the_same_again_and_ones_own_change_nothing(local: Team, away: Team, told: Path, tmp_path: Path) -> None:
    bring_revocations(away.registry, away["sam"], told)
    again = bring_revocations(away.registry, away["sam"], told)
    assert (again.revoked, again.left_out) == ((), ())
    write_revocations(away.registry, tmp_path / "passed-on.json")
    assert (tmp_path / "passed-on.json").read_bytes() == told.read_bytes()
    own = bring_revocations(local.registry, local["sam"], tmp_path / "passed-on.json")
    assert (own.revoked, own.left_out) == ((), ())


def test_who_may_not_revoke_here_revokes_nothing_here(local: Team, away: Team, told: Path) -> None:
    retire(away.registry, away["ann"], local["bob"].public_key.keyid, "he left")
    brought = bring_revocations(away.registry, away["sam"], told)
    assert brought.revoked == ()
    assert "the key of bob was retired" in brought.left_out[0]
    with pytest.raises(RegistryError, match="eva is evaluator, and it takes submitter or approver or admin"):
        bring_revocations(away.registry, away["eva"], _signed_by_another(told, local))


def _signed_by_another(told: Path, local: Team) -> Path:
    """bea, who may revoke, says it too."""
    add(local.registry, local["sam"], NAME, local.another())
    revoke(local.registry, local["bea"], f"{NAME}@3", "it too")
    told.unlink()
    write_revocations(local.registry, told)
    return told


def test_a_revocation_stays_when_its_key_was_stolen(local: Team, away: Team, told: Path) -> None:
    bring_revocations(away.registry, away["sam"], told)
    retire(away.registry, away["ann"], local["bob"].public_key.keyid, "stolen", stolen=True)
    with pytest.raises(RegistryError, match="these bytes are revoked"):
        add(away.registry, away["sam"], NAME, local.folder / "adapter-2")


@pytest.mark.parametrize("part", ["payload", "sig"])
def test_a_changed_statement_does_not_hold(away: Team, told: Path, part: str) -> None:
    content = json.loads(told.read_text())
    statement = content["statements"][0]
    held = statement if part == "payload" else statement["signatures"][0]
    text = held[part]
    held[part] = text[:-9] + ("A" if text[-9] != "A" else "B") + text[-8:]
    told.write_bytes(canonical(content))
    with away.registry.view() as state:
        before = state.head
    brought = bring_revocations(away.registry, away["sam"], told)
    assert brought.revoked == ()
    assert len(brought.left_out) == 1
    with away.registry.view() as state:
        assert state.head == before


def test_nobody_writes_a_revocation_that_was_never_said(local: Team, away: Team, told: Path, tmp_path: Path) -> None:
    """Whoever imports writes the event, and what counts is the statement in it: if it does not hold, nothing."""
    bring_in(away.registry, away["sam"], _another_tar(local, tmp_path))
    brought = bring_revocations(away.registry, away["sam"], told).revoked[0].fact
    with away.registry.view() as state:
        mine = resolve(state, f"{NAME}@1").release.fact
    for statement in (brought.statement, "x"):
        forged = brought.model_copy(update=mine.identity | {"statement": statement})
        with pytest.raises(RegistryError), away.registry.writer(away["bea"]) as writer:
            writer.append(forged)
        rogue(away.registry, away["bea"], forged)
    with away.registry.view() as state:
        assert resolve(state, f"{NAME}@1").release.fact == mine
    assert len(write_revocations(away.registry, tmp_path / "passed-on.json")) == 1
    assert "it is not what bob signed" in faults_of(away)
    assert len(verify(away.registry).faults) == 2


def test_what_another_signer_says_of_the_same_bytes_is_kept_too(
    local: Team, away: Team, told: Path, tmp_path: Path
) -> None:
    bring_in(away.registry, away["sam"], tmp_path / "two.tar")
    bring_revocations(away.registry, away["sam"], told)
    assert revoke_again(away).fact.reason == "here too"
    assert [fact.statement is None for fact in revoked(away)] == [False, True]
    with pytest.raises(RegistryError, match="it is revoked already: here too"):
        revoke_again(away)


def revoke_again(team: Team) -> Event[Revoked]:
    """bob, of this site, says it of bytes that were added before."""
    (release,) = events_of(team.registry, Released)
    return revoke(team.registry, team["bob"], release.fact.name, "here too")


def test_ones_own_that_the_record_lost_is_missed(local: Team, told: Path) -> None:
    delete(local.registry, *events_of(local.registry, Revoked))
    forget(local.registry)
    with pytest.raises(TamperError, match="was said here, and is not in the log any more"):
        bring_revocations(local.registry, local["sam"], told)


def test_a_clock_that_is_behind_stops_it_and_is_no_fault_of_the_statements(
    away: Team, told: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = clock.now() - timedelta(days=1)
    monkeypatch.setattr(clock, "now", lambda: earlier)
    with pytest.raises(RegistryError, match="this machine's clock says"):
        bring_revocations(away.registry, away["sam"], told)


def test_a_file_that_is_there_is_not_replaced(local: Team, told: Path) -> None:
    with pytest.raises(RegistryError, match="there is something already"):
        write_revocations(local.registry, told)


def _another_tar(local: Team, tmp_path: Path) -> Path:
    export(local.registry, f"{NAME}@1", tmp_path / "one.tar")
    return tmp_path / "one.tar"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "it does not say 'worldtune revocations 1'"),
        (b'{"format": "worldtune revocations 1"}', "it does not say"),
        (b'{"format": "worldtune revocations 1", "format": "x", "statements": []}', "twice"),
        (b'{"format": "worldtune revocations 2", "statements": []}', "it does not say"),
        (b'{"format": "worldtune revocations 1", "statements": [NaN]}', "NaN is not a number"),
        (b'{"format": "worldtune revocations 1", "statements": ["\\ud800"]}', "a string holds"),
    ],
)
def test_a_file_that_is_none_is_refused(away: Team, tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "no.json").write_bytes(content)
    with pytest.raises(RegistryError, match=why):
        bring_revocations(away.registry, away["sam"], tmp_path / "no.json")


class TestBase:
    """A base in which a fault was found: everything that stands on it, now and later."""

    def test_what_stands_on_it_is_used_no_more_now_and_later(self, team: Team) -> None:
        release, source = ready(team), team.another()
        promote(team.registry, team["sam"], release.name, "production")
        export(team.registry, release.name, team.folder / "one.tar")
        event = revoke_base(team.registry, team["bob"], release.base[:12], "its VAE was converted wrongly")
        assert event.fact.base == release.base
        why = "revoked with its base .* its VAE was converted wrongly"
        for reference in (release.name, f"{NAME}@production", f"{NAME}@sha256:{release.digest}"):
            with team.registry.view() as state, pytest.raises(RegistryError, match=why):
                resolve(state, reference)
        for act in (
            lambda: promote(team.registry, team["sam"], release.name, "staging"),
            lambda: promote(team.registry, team["ann"], release.name, "staging", glass=GLASS),
            lambda: approve(team.registry, team["bea"], release.name, "production", "still"),
            lambda: export(team.registry, release.name, team.folder / "two.tar"),
            lambda: use(release.name, pytest.fail, team.registry.folder),
        ):
            with pytest.raises(RegistryError, match=why):
                act()
        with pytest.raises(RegistryError, match=r"its base \w+ is revoked: its VAE was converted wrongly"):
            add(team.registry, team["sam"], "cell8/pick", source)
        assert verify(team.registry).sound

    def test_it_is_revoked_once_and_by_who_may(self, local: Team) -> None:
        base = released(local).base
        with pytest.raises(RegistryError, match="sam is submitter, and it takes approver"):
            revoke_base(local.registry, local["sam"], base, "bad")
        revoke_base(local.registry, local["bob"], f"sha256:{base}", "bad")
        with pytest.raises(RegistryError, match="it is revoked already: bad"):
            revoke_base(local.registry, local["bea"], base, "again")

    @pytest.mark.parametrize("begins", ["", "a", "0" * 12, "0" * 63, "sha256:", "x" * 64, "%", "\n" * 64])
    def test_what_begins_no_base_is_refused(self, local: Team, begins: str) -> None:
        released(local)
        with pytest.raises(RegistryError):
            revoke_base(local.registry, local["bob"], begins, "bad")
        assert events_of(local.registry, BaseRevoked) == []

    def test_base_that_nothing_stands_on_yet_is_revoked_by_all_its_digits(self, local: Team) -> None:
        base = released(local).base
        revoke_base(local.registry, local["bob"], "7" * 64, "heard of it")
        with local.registry.view() as state:
            assert resolve(state, f"{NAME}@1").release.fact.base == base

    def test_it_is_told_and_holds_at_another_site_for_what_comes_later(
        self, local: Team, away: Team, tmp_path: Path
    ) -> None:
        release = released(local)
        export(local.registry, release.name, tmp_path / "one.tar")
        own = add(away.registry, away["sam"], "line/pick", local.another()).fact
        promote(away.registry, away["sam"], own.name, "staging")
        revoke_base(local.registry, local["bob"], release.base, "bad")
        assert len(write_revocations(local.registry, tmp_path / "revoked.json")) == 1
        (brought,) = bring_revocations(away.registry, away["sam"], tmp_path / "revoked.json").revoked
        assert "as another registry says: bad" in brought.fact.told
        with away.registry.view() as state, pytest.raises(RegistryError, match="is revoked with its base"):
            resolve(state, "line/pick@staging")
        with pytest.raises(RegistryError, match=r"its base \w+ is revoked: bad"):
            bring_in(away.registry, away["sam"], tmp_path / "one.tar")
        again = bring_revocations(away.registry, away["sam"], tmp_path / "revoked.json")
        assert (again.revoked, again.left_out) == ((), ())
        write_revocations(away.registry, tmp_path / "on.json")
        assert (tmp_path / "on.json").read_bytes() == (tmp_path / "revoked.json").read_bytes()
        revoke_base(away.registry, away["bob"], release.base, "here too")
        assert verify(away.registry).sound

    def test_base_that_a_stolen_key_revoked_stays_revoked(self, local: Team) -> None:
        release = released(local)
        revoke_base(local.registry, local["bob"], release.base, "bad")
        retire(local.registry, local["ann"], local["bob"].public_key.keyid, "gone", stolen=True)
        with local.registry.view() as state, pytest.raises(RegistryError, match="is revoked with its base"):
            resolve(state, release.name)

    def test_child_on_another_base_of_a_parent_that_stood_on_it_goes_nowhere(self, local: Team) -> None:
        parent = released(local)
        child = parent.model_copy(update={"number": 2, "digest": "1" * 64, "base": "9" * 64, "parent": parent.digest})
        rogue(local.registry, local["sam"], child)
        revoke_base(local.registry, local["bob"], parent.base, "bad")
        with local.registry.view() as state, pytest.raises(RegistryError, match=r"it came from .* is revoked: bad"):
            check_not_revoked(state, child)


def test_a_file_that_is_not_there_is_said(away: Team, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no such file"):
        bring_revocations(away.registry, away["sam"], tmp_path / "no.json")
