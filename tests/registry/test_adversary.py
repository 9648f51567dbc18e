"""What somebody tries who has a key of their own, a tar in their hands, or the database."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from securesystemslib.signer import CryptoSigner

from worldtune.errors import BusyError, RegistryError, TamperError, UserError
from worldtune.files import digest_bytes
from worldtune.registry import clock, promotion
from worldtune.registry.add import About, add
from worldtune.registry.approval import approve, revoke, withdraw
from worldtune.registry.bring_in import bring_in
from worldtune.registry.bundle import STATEMENT, export
from worldtune.registry.enrolment import enrol, retire, set_policy
from worldtune.registry.facts import KIND, Approved, Evaluated, Fact, Moved, Released
from worldtune.registry.keys import make_key, public_path
from worldtune.registry.lineage import lineage
from worldtune.registry.manifest import canonical
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import BreakGlass, promote, rollback
from worldtune.registry.releases import resolve
from worldtune.registry.standing import policy_now
from worldtune.registry.statements import sign, statement
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import events_of, faults_of, rogue, signed_envelope
from .prepared import LATER, PRODUCTION, judged, ready
from .test_bundle import members, write


def know(site: Team, other: Team, person: str, called: str, *roles: Any) -> None:
    public = public_path(other.registry.folder / "keys" / f"{person}.pem")
    enrol(site.registry, site["ann"], called, public, roles, None)


def forged(fact: Fact, signer: CryptoSigner, sequence: int = 1) -> bytes:
    """What no registry ever wrote, signed all the same."""
    predicate = {
        "registry": "elsewhere", "sequence": sequence, "previous": "0" * 64, "at": clock.time_here(), "actor": "x",
        "fact": fact.model_dump(mode="json"),
    }  # fmt: skip
    return sign(statement(fact.subject, KIND.format(fact.kind), predicate), signer)


def repacked(tar: Path, target: Path, *statements: bytes, **blobs: bytes) -> Path:
    """A tar with other statements, everything about it right but what they say; `blobs` are further layers by kind."""
    content = members(tar)
    index = json.loads(content["index.json"])
    image = json.loads(content.pop("blobs/sha256/" + index["manifests"][0]["digest"].removeprefix("sha256:")))
    gone = [layer for layer in image["layers"] if layer["mediaType"] == STATEMENT]
    for layer in gone:
        del content["blobs/sha256/" + layer["digest"].removeprefix("sha256:")]
    image["layers"] = [layer for layer in image["layers"] if layer not in gone]
    for kind, text in [(STATEMENT, one) for one in statements] + list(blobs.items()):
        digest = digest_bytes(text)
        content["blobs/sha256/" + digest] = text
        image["layers"].append({"mediaType": kind, "digest": f"sha256:{digest}", "size": len(text)})
    changed = canonical(image)
    content["blobs/sha256/" + digest_bytes(changed)] = changed
    index["manifests"][0] |= {"digest": f"sha256:{digest_bytes(changed)}", "size": len(changed)}
    return write(target, content | {"index.json": canonical(index)})


def statements(tar: Path) -> list[bytes]:
    content = members(tar)
    index = json.loads(content["index.json"])
    image = json.loads(content["blobs/sha256/" + index["manifests"][0]["digest"].removeprefix("sha256:")])
    digests = [layer["digest"].removeprefix("sha256:") for layer in image["layers"] if layer["mediaType"] == STATEMENT]
    return [content["blobs/sha256/" + digest] for digest in digests]


def sent(team: Team, tmp_path: Path) -> tuple[Path, Released]:
    """A release that is ready there, as a tar."""
    release = ready(team)
    export(team.registry, release.name, tmp_path / "sent.tar")
    return tmp_path / "sent.tar", release


class TestImports:
    def test_a_submitter_alone_brings_nothing_but_their_own_word(self, local: Team, away: Team, tmp_path: Path) -> None:
        tar, release = sent(local, tmp_path)
        sam, of = local["sam"], {"adapter": NAME, "number": 1, "digest": release.digest, "expires": LATER}
        with away.registry.view() as state:
            policy = policy_now(state).digest
        mine = Approved(**of, person="sam", channel="production", policy=policy, reason="mine", statement="x")
        passed = Evaluated(
            **of, person="sam", base=release.base, suite="5" * 64, gates="6" * 64, results=digest_bytes(b"{}"),
            candidate="new", outcome="pass", statement="x",
        )  # fmt: skip
        own = [forged(release, sam), forged(mine, sam), forged(passed, sam)]
        own += [forged(fact.model_copy(update={"statement": None}), sam) for fact in (mine, passed)]
        kind = STATEMENT.replace("statement+json", "results+json")
        brought = bring_in(away.registry, away["ann"], repacked(tar, tmp_path / "t.tar", *own, **{kind: b"{}"}))
        assert brought.counted == ()
        assert len(brought.left_out) == 4
        with pytest.raises(RegistryError, match="approvals: 0 of 1"):
            promote(away.registry, away["sam"], brought.release.fact.name, "production")

    def test_an_author_is_who_the_key_is_here_and_cannot_approve(
        self, make_team: Callable[..., Team], local: Team, tmp_path: Path
    ) -> None:
        tar, _ = sent(local, tmp_path)
        site = make_team(folder="site")
        know(site, local, "sam", "samuel", "submitter", "approver")
        release = bring_in(site.registry, site["ann"], tar).release.fact
        assert release.author == "samuel"
        with pytest.raises(RegistryError, match="samuel made it, and cannot approve it"):
            approve(site.registry, local["sam"], release.name, "production", "mine")
        assert verify(site.registry).sound

    def test_an_author_who_may_not_submit_here_or_whose_key_was_retired_brings_nothing(
        self, make_team: Callable[..., Team], local: Team, tmp_path: Path
    ) -> None:
        tar, _ = sent(local, tmp_path)
        site = make_team(folder="site")
        know(site, local, "sam", "sam", "evaluator")
        with pytest.raises(RegistryError, match="sam is evaluator, and it takes submitter or admin"):
            bring_in(site.registry, site["ann"], tar)
        retire(site.registry, site["ann"], local["sam"].public_key.keyid, "left")
        with pytest.raises(RegistryError, match="the key of sam was retired"):
            bring_in(site.registry, site["ann"], tar)

    def test_an_author_writes_nobody_elses_name(self, local: Team) -> None:
        release = ready(local)
        with pytest.raises(RegistryError, match="sam speaks for ghost"), local.registry.writer(local["sam"]) as writer:
            writer.append(release.model_copy(update={"number": 2, "author": "ghost"}))

    def test_ones_own_signature_in_place_of_an_approvers_is_none(self, local: Team) -> None:
        release = add(local.registry, local["sam"], NAME, local.another()).fact
        judged(local, release)
        with local.registry.view() as state:
            policy = policy_now(state).digest
        of = {"adapter": NAME, "number": 1, "digest": release.digest, "expires": LATER}
        mine = Approved(**of, person="sam", channel="production", policy=policy, reason="mine")
        brought = mine.model_copy(update={"statement": forged(mine, local["sam"]).decode()})
        with (
            pytest.raises(RegistryError, match="sam is submitter, and it takes approver"),
            local.registry.writer(local["sam"]) as writer,
        ):
            writer.append(brought)
        rogue(local.registry, local["sam"], brought)
        with pytest.raises(RegistryError, match="approvals: 0 of 1"):
            promote(local.registry, local["sam"], release.name, "production")
        assert "it takes approver" in faults_of(local)

    def test_an_approval_that_was_taken_back_here_is_not_brought_back(self, local: Team) -> None:
        release = ready(local)
        (given,) = events_of(local.registry, Approved)
        again = given.fact.model_copy(update={"statement": signed_envelope(local.registry, given).decode()})
        withdraw(local.registry, local["bob"], release.name, "production", "no")
        with (
            pytest.raises(TamperError, match="no such statement of another registry"),
            local.registry.writer(local["sam"]) as writer,
        ):
            writer.append(again)
        rogue(local.registry, local["sam"], again)
        with pytest.raises(RegistryError, match="bob took it back"):
            promote(local.registry, local["sam"], release.name, "production")
        assert "no such statement of another registry" in faults_of(local)

    def test_nor_by_writing_its_signature_the_other_way(self, local: Team, away: Team, tmp_path: Path) -> None:
        """An EC signature (r, s) holds as (r, n − s) too: the same word, not a second one."""
        tar, _ = sent(local, tmp_path)
        release = bring_in(away.registry, away["sam"], tar).release.fact
        withdraw(away.registry, local["bob"], release.name, "production", "no")
        turned = []
        for envelope in statements(tar):
            parsed = json.loads(envelope)
            if parsed["signatures"][0]["keyid"] == local["bob"].public_key.keyid:
                r, s = decode_dss_signature(base64.b64decode(parsed["signatures"][0]["sig"]))
                n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
                parsed["signatures"][0]["sig"] = base64.b64encode(encode_dss_signature(r, n - s)).decode()
            turned.append(canonical(parsed))
        assert turned != statements(tar)
        assert bring_in(away.registry, away["sam"], repacked(tar, tmp_path / "t.tar", *turned)).counted == ()
        with pytest.raises(RegistryError, match="bob took it back"):
            promote(away.registry, away["sam"], release.name, "production")

    def test_what_was_taken_back_there_does_not_travel(self, local: Team, away: Team, tmp_path: Path) -> None:
        release = ready(local)
        withdraw(local.registry, local["bob"], release.name, "production", "no")
        export(local.registry, release.name, tmp_path / "t.tar")
        kinds = [event.fact.kind for event in bring_in(away.registry, away["sam"], tmp_path / "t.tar").counted]
        assert kinds == ["evaluated"]

    def test_the_order_in_the_tar_does_not_make_an_older_evaluation_the_newest(
        self, local: Team, away: Team, tmp_path: Path
    ) -> None:
        release = add(local.registry, local["sam"], NAME, local.another()).fact
        judged(local, release)
        judged(local, release, expires=LATER)
        export(local.registry, release.name, tmp_path / "sent.tar")
        backwards = repacked(tmp_path / "sent.tar", tmp_path / "t.tar", *reversed(statements(tmp_path / "sent.tar")))
        brought = bring_in(away.registry, away["sam"], backwards)
        assert [event.fact.expires == LATER for event in brought.counted] == [False, True]

    def test_an_approval_is_for_the_name_that_it_says(self, local: Team, away: Team, tmp_path: Path) -> None:
        tar, _ = sent(local, tmp_path)
        brought = bring_in(away.registry, away["sam"], tar, "cell9/weld/arm")
        assert [event.fact.kind for event in brought.counted] == ["evaluated"]
        assert "it was for cell7/front/pick, not for cell9/weld/arm" in brought.left_out[0]

    @pytest.mark.parametrize("name", ["FOO\nBAR", "a@b", ""])
    def test_a_name_that_is_none_is_refused(self, local: Team, away: Team, tmp_path: Path, name: str) -> None:
        tar, release = sent(local, tmp_path)
        signed = forged(release.model_copy(update={"adapter": name}), local["sam"])
        with pytest.raises(RegistryError, match="it is not the name of an adapter"):
            bring_in(away.registry, away["sam"], repacked(tar, tmp_path / "t.tar", signed))

    def test_a_release_that_came_from_itself_is_refused(self, local: Team, away: Team, tmp_path: Path) -> None:
        tar, release = sent(local, tmp_path)
        signed = forged(release.model_copy(update={"parent": release.digest}), local["sam"])
        with pytest.raises(RegistryError, match="it cannot come from itself"):
            bring_in(away.registry, away["sam"], repacked(tar, tmp_path / "t.tar", signed))

    @pytest.mark.parametrize("predicate", [{}, {"fact": 5}, {"fact": {}}])
    def test_a_statement_that_says_nothing_is_one_line(
        self, local: Team, away: Team, tmp_path: Path, predicate: dict[str, Any]
    ) -> None:
        tar, release = sent(local, tmp_path)
        for kind in (Released, Approved):
            empty = sign(statement(release.subject, KIND.format(kind.kind), predicate), local["sam"])
            rest = [] if kind is Released else statements(tar)
            try:
                brought = bring_in(away.registry, away["sam"], repacked(tar, tmp_path / "t.tar", *rest, empty))
            except UserError:
                assert kind is Released
            else:
                assert brought.left_out


class TestChannels:
    def test_a_move_that_a_program_wrote_past_the_policy_is_refused(self, team: Team) -> None:
        release = add(team.registry, team["sam"], NAME, team.another()).fact
        of = {"adapter": NAME, "number": 1, "digest": release.digest}
        with team.registry.view() as state:
            policy = policy_now(state).digest
        move = Moved(**of, channel="production", generation=1, how="promotion", policy=policy)
        refusal = "there is no evaluation; approvals: 0 of 1"
        with pytest.raises(RegistryError, match=refusal), team.registry.writer(team["sam"]) as writer:
            writer.append(move)
        rogue(team.registry, team["sam"], move)
        with team.registry.view() as state, pytest.raises(RegistryError, match="has no channel production"):
            resolve(state, PRODUCTION)
        assert refusal in faults_of(team)

    def test_bytes_approved_under_one_name_are_not_approved_under_another(self, team: Team) -> None:
        source = team.another()
        release = add(team.registry, team["sam"], NAME, source).fact
        judged(team, release)
        approve(team.registry, team["bob"], release.name, "production", "good")
        other = add(team.registry, team["sam"], "cell9/weld/arm", source).fact
        assert other.digest == release.digest
        with pytest.raises(RegistryError, match="approvals: 0 of 1"):
            promote(team.registry, team["sam"], other.name, "production")

    def test_a_channel_that_moves_while_its_release_is_verified(
        self, team: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = (add(team.registry, team["sam"], NAME, team.another()).fact for _ in range(2))
        promote(team.registry, team["sam"], first.name, "staging")

        verify_bytes = promotion.verify_bytes

        def meanwhile(*_: Any) -> None:
            monkeypatch.setattr(promotion, "verify_bytes", verify_bytes)
            promote(team.registry, team["sam"], second.name, "staging")

        monkeypatch.setattr(promotion, "verify_bytes", meanwhile)
        with pytest.raises(BusyError, match="it means another release now"):
            promote(team.registry, team["sam"], f"{NAME}@staging", "canary")

    def test_a_channel_whose_name_is_misspelt_in_a_policy_is_refused(self) -> None:
        with pytest.raises(ValueError, match="'Production' is no name of a channel"):
            Policy(channels={"Production": Rule(approvals=2), "*": Rule()})

    def test_a_fail_that_expires_does_not_bring_an_older_pass_back(
        self, local: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release = add(local.registry, local["sam"], NAME, local.another()).fact
        judged(local, release, expires=LATER)
        soon = clock.text_of(clock.now() + timedelta(hours=1))
        judged(local, release, outcome="fail", expires=soon)
        approve(local.registry, local["bob"], release.name, "production", "good")
        later = clock.now() + timedelta(hours=2)
        monkeypatch.setattr(clock, "now", lambda: later)
        with pytest.raises(RegistryError, match="the gates say fail"):
            promote(local.registry, local["sam"], release.name, "production")

    def test_after_another_policy_a_release_is_approved_anew_and_goes_on(self, team: Team) -> None:
        release = ready(team)
        promote(team.registry, team["sam"], release.name, "staging")
        set_policy(team.registry, team["ann"], Policy(channels={"production": Rule(approvals=1), "*": Rule()}))
        approve(team.registry, team["bob"], release.name, "production", "again")
        assert promote(team.registry, team["sam"], release.name, "production").fact.generation == 1

    def test_nobody_goes_back_to_what_break_glass_let_in_or_to_the_child_of_a_revoked_one(self, team: Team) -> None:
        parent = ready(team)
        child, last = ready(team, parent=parent.name), ready(team)
        odd = add(team.registry, team["sam"], NAME, team.another()).fact
        glass = BreakGlass("down", timedelta(hours=1))
        promote(team.registry, team["ann"], odd.name, "production", glass=glass)
        for release in (child, last):
            promote(team.registry, team["sam"], release.name, "production")
        revoke(team.registry, team["bob"], parent.name, "bad data")
        with pytest.raises(RegistryError, match="let in by break-glass only") as error:
            rollback(team.registry, team["bob"], PRODUCTION, "it misses")
        assert "bad data" in error.value.what

    def test_an_approval_that_expired_since_the_last_event_does_not_stop_a_rollback(
        self, local: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = ready(local)
        second = add(local.registry, local["sam"], NAME, local.another()).fact
        judged(local, second)
        approve(local.registry, local["bob"], second.name, "production", "for a while", timedelta(hours=1))
        third = ready(local)
        for release in (first, second, third):
            promote(local.registry, local["sam"], release.name, "production")
        later = clock.now() + timedelta(hours=2)
        monkeypatch.setattr(clock, "now", lambda: later)
        assert rollback(local.registry, local["bob"], PRODUCTION, "it misses")[0].fact.number == first.number


class TestStolenKeys:
    def test_a_channel_goes_on_after_its_newest_move_was_by_a_stolen_key(self, team: Team) -> None:
        first, second = ready(team), ready(team)
        promote(team.registry, team["sam"], first.name, "production")
        promote(team.registry, team["bea"], second.name, "production")
        retire(team.registry, team["ann"], team["bea"].public_key.keyid, "stolen", stolen=True)
        with team.registry.view() as state:
            assert resolve(state, PRODUCTION).name == first.name
        assert promote(team.registry, team["sam"], second.name, "production").fact.generation == 3
        assert verify(team.registry).sound

    def test_what_a_stolen_key_revoked_stays_revoked(self, team: Team) -> None:
        release = ready(team)
        revoke(team.registry, team["bob"], release.name, "bad")
        retire(team.registry, team["ann"], team["bob"].public_key.keyid, "stolen", stolen=True)
        with team.registry.view() as state, pytest.raises(RegistryError, match="is revoked: bad"):
            resolve(state, release.name)

    def test_a_key_is_not_given_back_by_retiring_it_again(self, team: Team) -> None:
        release = ready(team)
        for stolen in (True, False):
            retire(team.registry, team["ann"], team["bob"].public_key.keyid, "twice", stolen=stolen)
        with pytest.raises(RegistryError, match="approvals: 0 of 1"):
            promote(team.registry, team["sam"], release.name, "production")

    def test_a_release_of_a_stolen_key_is_added_again_and_found_by_its_digest(self, team: Team) -> None:
        source = team.another()
        release = add(team.registry, team["sam"], NAME, source).fact
        retire(team.registry, team["ann"], team["sam"].public_key.keyid, "stolen", stolen=True)
        again = add(team.registry, team["ann"], NAME, source).fact
        assert again.number == 2
        with team.registry.view() as state:
            assert resolve(state, f"{NAME}@sha256:{release.digest}").name == again.name

    def test_without_a_founder_who_can_be_trusted_no_policy_holds(self, team: Team, tmp_path: Path) -> None:
        other = make_key(tmp_path / "other.pem")
        enrol(team.registry, team["ann"], "olga", public_path(tmp_path / "other.pem"), ("admin",), None)
        release = ready(team)
        retire(team.registry, other, team["ann"].public_key.keyid, "stolen", stolen=True)
        with pytest.raises(RegistryError, match="no policy holds"):
            promote(team.registry, team["sam"], release.name, "staging")
        set_policy(team.registry, other, Policy(channels={"*": Rule()}))
        promote(team.registry, team["sam"], release.name, "staging")

    def test_who_retires_their_own_key_leaves_a_record_that_can_be_read(self, team: Team, tmp_path: Path) -> None:
        enrol(team.registry, team["ann"], "ann", _public(tmp_path), ("admin",), None)
        release = ready(team)
        retire(team.registry, team["ann"], team["ann"].public_key.keyid, "a new one")
        with team.registry.view() as state:
            assert state.identities[team["ann"].public_key.keyid].retired is not None
        assert verify(team.registry).sound
        promote(team.registry, team["sam"], release.name, "production")

    def test_a_retirement_at_the_very_time_of_an_approval_leaves_that(
        self, local: Team, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        release = ready(local)
        earlier = clock.now() - timedelta(seconds=30)
        monkeypatch.setattr(clock, "now", lambda: earlier)
        retire(local.registry, local["ann"], local["bob"].public_key.keyid, "left")
        promote(local.registry, local["sam"], release.name, "production")


def _public(tmp_path: Path) -> Path:
    make_key(tmp_path / "new.pem")
    return public_path(tmp_path / "new.pem")


def test_the_same_bytes_are_not_their_own_parent_and_a_circle_ends(local: Team) -> None:
    source = local.another()
    add(local.registry, local["sam"], "x/a", source)
    with pytest.raises(RegistryError, match="it cannot come from itself"):
        add(local.registry, local["sam"], "x/b", source, About(parent="x/a@1"))
    child = add(local.registry, local["sam"], "x/c", local.another(), About(parent="x/a@1")).fact
    assert child.digest in lineage(local.registry, "x/a@1").nodes


@pytest.mark.parametrize("lineage_", [{"base": "x"}, {"datasets": []}, {"seed": float("nan")}, {"versions": 5}])
def test_a_lineage_that_says_nothing_known_is_refused(local: Team, lineage_: dict[str, Any]) -> None:
    with pytest.raises(RegistryError, match=r"its lineage|NaN is not a number"):
        add(local.registry, local["sam"], NAME, local.another(lineage=lineage_))
