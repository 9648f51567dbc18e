"""Attacks by people who have a key, an exported tar, or the database."""

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from securesystemslib.signer import CryptoSigner

from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import digest_bytes
from worldtune.errors import BusyError, RegistryError, TamperError, UserError
from worldtune.registry import clock
from worldtune.registry.events.events import (
    PREDICATE_TYPE,
    ChannelUpdated,
    Fact,
    ReleaseAdded,
    ReleaseApproved,
    ReleaseEvaluated,
)
from worldtune.registry.exchange.import_release import import_release
from worldtune.registry.exchange.oci_bundle import STATEMENT_MEDIA_TYPE, export_release
from worldtune.registry.governance import promotion
from worldtune.registry.governance.admin import enroll, retire_key, set_policy
from worldtune.registry.governance.approval import approve, revoke_release, withdraw_approval
from worldtune.registry.governance.promotion import BreakGlass, promote, rollback
from worldtune.registry.log.release_status import current_policy
from worldtune.registry.log.resolve import resolve
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.releases.add import ReleaseMetadata, add_release
from worldtune.registry.releases.lineage import build_lineage
from worldtune.registry.signing.dsse import make_statement, sign
from worldtune.registry.signing.keys import generate_key, public_key_path
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .exchange.test_oci_bundle import members, write
from .log_support import append_unchecked, find_faults, list_events, read_signed_envelope
from .prepared import LATER, PRODUCTION, attach_evidence, make_approved_release


def know(site: Team, other: Team, person: str, called: str, *roles: Any) -> None:
    public = public_key_path(other.registry.folder / "keys" / f"{person}.pem")
    enroll(site.registry, site["ann"], called, public, roles, None)


def forged(fact: Fact, signer: CryptoSigner, sequence: int = 1) -> bytes:
    """Return a signed statement that no registry wrote."""
    predicate = {
        "registry": "elsewhere", "sequence": sequence, "previous": "0" * 64, "at": clock.current_time(), "actor": "x",
        "fact": fact.model_dump(mode="json"),
    }  # fmt: skip
    return sign(make_statement(fact.subject, PREDICATE_TYPE.format(fact.kind), predicate), signer)


def repacked(tar: Path, target: Path, *statements: bytes, **blobs: bytes) -> Path:
    """Write a consistent tar with other statements; `blobs` are further layers by media type."""
    content = members(tar)
    index = json.loads(content["index.json"])
    image = json.loads(content.pop("blobs/sha256/" + index["manifests"][0]["digest"].removeprefix("sha256:")))
    gone = [layer for layer in image["layers"] if layer["mediaType"] == STATEMENT_MEDIA_TYPE]
    for layer in gone:
        del content["blobs/sha256/" + layer["digest"].removeprefix("sha256:")]
    image["layers"] = [layer for layer in image["layers"] if layer not in gone]
    for kind, text in [(STATEMENT_MEDIA_TYPE, statement) for statement in statements] + list(blobs.items()):
        digest = digest_bytes(text)
        content["blobs/sha256/" + digest] = text
        image["layers"].append({"mediaType": kind, "digest": f"sha256:{digest}", "size": len(text)})
    changed = canonical_json(image)
    content["blobs/sha256/" + digest_bytes(changed)] = changed
    index["manifests"][0] |= {"digest": f"sha256:{digest_bytes(changed)}", "size": len(changed)}
    return write(target, content | {"index.json": canonical_json(index)})


def statements(tar: Path) -> list[bytes]:
    content = members(tar)
    index = json.loads(content["index.json"])
    image = json.loads(content["blobs/sha256/" + index["manifests"][0]["digest"].removeprefix("sha256:")])
    digests = [
        layer["digest"].removeprefix("sha256:")
        for layer in image["layers"]
        if layer["mediaType"] == STATEMENT_MEDIA_TYPE
    ]
    return [content["blobs/sha256/" + digest] for digest in digests]


def sent(team: Team, tmp_path: Path) -> tuple[Path, ReleaseAdded]:
    """Export a release that is approved at the first site."""
    release = make_approved_release(team)
    export_release(team.registry, release.name, tmp_path / "sent.tar")
    return tmp_path / "sent.tar", release


class TestImports:
    def test_submitter_cannot_import_forged_approvals(self, local: Team, away: Team, tmp_path: Path) -> None:
        tar, release = sent(local, tmp_path)
        sam, of = local["sam"], {"adapter": NAME, "number": 1, "digest": release.digest, "expires": LATER}
        with away.registry.view() as state:
            policy = current_policy(state).digest
        mine = ReleaseApproved(**of, person="sam", channel="production", policy=policy, reason="mine", statement="x")
        passed = ReleaseEvaluated(
            **of, person="sam", base=release.base, suite="5" * 64, gates="6" * 64, results=digest_bytes(b"{}"),
            candidate="new", outcome="pass", statement="x",
        )  # fmt: skip
        own = [forged(release, sam), forged(mine, sam), forged(passed, sam)]
        own += [forged(fact.model_copy(update={"statement": None}), sam) for fact in (mine, passed)]
        kind = STATEMENT_MEDIA_TYPE.replace("statement+json", "results+json")
        imported = import_release(away.registry, away["ann"], repacked(tar, tmp_path / "t.tar", *own, **{kind: b"{}"}))
        assert imported.accepted == ()
        assert len(imported.rejected) == 4
        with pytest.raises(RegistryError, match="approvals: 0 of 1"):
            promote(away.registry, away["sam"], imported.release.fact.name, "production")

    def test_author_has_the_name_of_the_key_here_and_cannot_approve(
        self, make_team: Callable[..., Team], local: Team, tmp_path: Path
    ) -> None:
        tar, _ = sent(local, tmp_path)
        site = make_team(folder="site")
        know(site, local, "sam", "samuel", "submitter", "approver")
        release = import_release(site.registry, site["ann"], tar).release.fact
        assert release.author == "samuel"
        with pytest.raises(RegistryError, match="samuel made it and cannot approve it"):
            approve(site.registry, local["sam"], release.name, "production", "mine")
        assert verify(site.registry).is_valid

    def test_author_without_a_valid_submitter_key_is_rejected(
        self, make_team: Callable[..., Team], local: Team, tmp_path: Path
    ) -> None:
        tar, _ = sent(local, tmp_path)
        site = make_team(folder="site")
        know(site, local, "sam", "sam", "evaluator")
        with pytest.raises(RegistryError, match="sam has the role evaluator; this needs submitter or admin"):
            import_release(site.registry, site["ann"], tar)
        retire_key(site.registry, site["ann"], local["sam"].public_key.keyid, "left")
        with pytest.raises(RegistryError, match="the key of sam was retired"):
            import_release(site.registry, site["ann"], tar)

    def test_author_cannot_sign_for_someone_else(self, local: Team) -> None:
        release = make_approved_release(local)
        with pytest.raises(RegistryError, match="cannot sign for ghost"), local.registry.writer(local["sam"]) as writer:
            writer.append(release.model_copy(update={"number": 2, "author": "ghost"}))

    def test_own_signature_does_not_replace_an_approvers(self, local: Team) -> None:
        release = add_release(local.registry, local["sam"], NAME, local.another()).fact
        attach_evidence(local, release)
        with local.registry.view() as state:
            policy = current_policy(state).digest
        of = {"adapter": NAME, "number": 1, "digest": release.digest, "expires": LATER}
        mine = ReleaseApproved(**of, person="sam", channel="production", policy=policy, reason="mine")
        imported = mine.model_copy(update={"statement": forged(mine, local["sam"]).decode()})
        with (
            pytest.raises(RegistryError, match="sam has the role submitter; this needs approver"),
            local.registry.writer(local["sam"]) as writer,
        ):
            writer.append(imported)
        append_unchecked(local.registry, local["sam"], imported)
        with pytest.raises(RegistryError, match="approvals: 0 of 1"):
            promote(local.registry, local["sam"], release.name, "production")
        assert "this needs approver" in find_faults(local)

    def test_withdrawn_approval_cannot_be_imported_again(self, local: Team) -> None:
        release = make_approved_release(local)
        (given,) = list_events(local.registry, ReleaseApproved)
        again = given.fact.model_copy(update={"statement": read_signed_envelope(local.registry, given).decode()})
        withdraw_approval(local.registry, local["bob"], release.name, "production", "no")
        with (
            pytest.raises(TamperError, match="statement of another registry"),
            local.registry.writer(local["sam"]) as writer,
        ):
            writer.append(again)
        append_unchecked(local.registry, local["sam"], again)
        with pytest.raises(RegistryError, match="bob withdrew it"):
            promote(local.registry, local["sam"], release.name, "production")
        assert "statement of another registry" in find_faults(local)

    def test_approval_with_the_alternate_ec_signature_is_not_imported_again(
        self, local: Team, away: Team, tmp_path: Path
    ) -> None:
        """An EC signature (r, s) is also valid as (r, n − s); both sign the same statement."""
        tar, _ = sent(local, tmp_path)
        release = import_release(away.registry, away["sam"], tar).release.fact
        withdraw_approval(away.registry, local["bob"], release.name, "production", "no")
        turned = []
        for envelope in statements(tar):
            parsed = json.loads(envelope)
            if parsed["signatures"][0]["keyid"] == local["bob"].public_key.keyid:
                r, s = decode_dss_signature(base64.b64decode(parsed["signatures"][0]["sig"]))
                n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
                parsed["signatures"][0]["sig"] = base64.b64encode(encode_dss_signature(r, n - s)).decode()
            turned.append(canonical_json(parsed))
        assert turned != statements(tar)
        assert import_release(away.registry, away["sam"], repacked(tar, tmp_path / "t.tar", *turned)).accepted == ()
        with pytest.raises(RegistryError, match="bob withdrew it"):
            promote(away.registry, away["sam"], release.name, "production")

    def test_withdrawn_approval_is_not_exported_to_another_site(self, local: Team, away: Team, tmp_path: Path) -> None:
        release = make_approved_release(local)
        withdraw_approval(local.registry, local["bob"], release.name, "production", "no")
        export_release(local.registry, release.name, tmp_path / "t.tar")
        kinds = [event.fact.kind for event in import_release(away.registry, away["sam"], tmp_path / "t.tar").accepted]
        assert kinds == ["release_evaluated"]

    def test_evaluations_are_imported_in_their_original_order(self, local: Team, away: Team, tmp_path: Path) -> None:
        release = add_release(local.registry, local["sam"], NAME, local.another()).fact
        attach_evidence(local, release)
        attach_evidence(local, release, expires=LATER)
        export_release(local.registry, release.name, tmp_path / "sent.tar")
        backwards = repacked(tmp_path / "sent.tar", tmp_path / "t.tar", *reversed(statements(tmp_path / "sent.tar")))
        imported = import_release(away.registry, away["sam"], backwards)
        assert [event.fact.expires == LATER for event in imported.accepted] == [False, True]

    def test_approval_is_bound_to_its_adapter_name(self, local: Team, away: Team, tmp_path: Path) -> None:
        tar, _ = sent(local, tmp_path)
        imported = import_release(away.registry, away["sam"], tar, "cell9/weld/arm")
        assert [event.fact.kind for event in imported.accepted] == ["release_evaluated"]
        assert "this approval is for cell7/front/pick, not for cell9/weld/arm" in imported.rejected[0]

    @pytest.mark.parametrize("name", ["FOO\nBAR", "a@b", ""])
    def test_invalid_adapter_name_is_rejected(self, local: Team, away: Team, tmp_path: Path, name: str) -> None:
        tar, release = sent(local, tmp_path)
        signed = forged(release.model_copy(update={"adapter": name}), local["sam"])
        with pytest.raises(RegistryError, match="not a valid adapter name"):
            import_release(away.registry, away["sam"], repacked(tar, tmp_path / "t.tar", signed))

    def test_release_as_its_own_parent_is_rejected(self, local: Team, away: Team, tmp_path: Path) -> None:
        tar, release = sent(local, tmp_path)
        signed = forged(release.model_copy(update={"parent": release.digest}), local["sam"])
        with pytest.raises(RegistryError, match="cannot be its own parent"):
            import_release(away.registry, away["sam"], repacked(tar, tmp_path / "t.tar", signed))

    @pytest.mark.parametrize("predicate", [{}, {"fact": 5}, {"fact": {}}])
    def test_empty_statement_gives_one_line_error(
        self, local: Team, away: Team, tmp_path: Path, predicate: dict[str, Any]
    ) -> None:
        tar, release = sent(local, tmp_path)
        for kind in (ReleaseAdded, ReleaseApproved):
            empty = sign(make_statement(release.subject, PREDICATE_TYPE.format(kind.kind), predicate), local["sam"])
            rest = [] if kind is ReleaseAdded else statements(tar)
            try:
                imported = import_release(away.registry, away["sam"], repacked(tar, tmp_path / "t.tar", *rest, empty))
            except UserError:
                assert kind is ReleaseAdded
            else:
                assert imported.rejected


class TestChannels:
    def test_unchecked_promotion_against_the_policy_has_no_effect(self, team: Team) -> None:
        release = add_release(team.registry, team["sam"], NAME, team.another()).fact
        of = {"adapter": NAME, "number": 1, "digest": release.digest}
        with team.registry.view() as state:
            policy = current_policy(state).digest
        move = ChannelUpdated(**of, channel="production", generation=1, action="promotion", policy=policy)
        refusal = "there is no evaluation; approvals: 0 of 1"
        with pytest.raises(RegistryError, match=refusal), team.registry.writer(team["sam"]) as writer:
            writer.append(move)
        append_unchecked(team.registry, team["sam"], move)
        with team.registry.view() as state, pytest.raises(RegistryError, match="has no channel production"):
            resolve(state, PRODUCTION)
        assert refusal in find_faults(team)

    def test_approval_does_not_carry_over_to_another_name(self, team: Team) -> None:
        source = team.another()
        release = add_release(team.registry, team["sam"], NAME, source).fact
        attach_evidence(team, release)
        approve(team.registry, team["bob"], release.name, "production", "good")
        other = add_release(team.registry, team["sam"], "cell9/weld/arm", source).fact
        assert other.digest == release.digest
        with pytest.raises(RegistryError, match="approvals: 0 of 1"):
            promote(team.registry, team["sam"], other.name, "production")

    def test_channel_update_during_verification_is_noticed(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        first, second = (add_release(team.registry, team["sam"], NAME, team.another()).fact for _ in range(2))
        promote(team.registry, team["sam"], first.name, "staging")

        verify_release = promotion.verify_release

        def meanwhile(*_: Any) -> None:
            monkeypatch.setattr(promotion, "verify_release", verify_release)
            promote(team.registry, team["sam"], second.name, "staging")

        monkeypatch.setattr(promotion, "verify_release", meanwhile)
        with pytest.raises(BusyError, match="the reference now refers to another release"):
            promote(team.registry, team["sam"], f"{NAME}@staging", "canary")

    def test_invalid_channel_name_in_a_policy_is_rejected(self) -> None:
        with pytest.raises(ValueError, match="'Production' is not a valid channel name"):
            Policy(channels={"Production": ChannelRule(approvals=2), "*": ChannelRule()})

    def test_expired_fail_does_not_revive_an_older_pass(self, local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        release = add_release(local.registry, local["sam"], NAME, local.another()).fact
        attach_evidence(local, release, expires=LATER)
        soon = clock.format_time(clock.utc_now() + timedelta(hours=1))
        attach_evidence(local, release, outcome="fail", expires=soon)
        approve(local.registry, local["bob"], release.name, "production", "good")
        later = clock.utc_now() + timedelta(hours=2)
        monkeypatch.setattr(clock, "utc_now", lambda: later)
        with pytest.raises(RegistryError, match="the gates say fail"):
            promote(local.registry, local["sam"], release.name, "production")

    def test_new_approval_after_a_policy_change_counts(self, team: Team) -> None:
        release = make_approved_release(team)
        promote(team.registry, team["sam"], release.name, "staging")
        set_policy(
            team.registry,
            team["ann"],
            Policy(channels={"production": ChannelRule(approvals=1), "*": ChannelRule()}),
        )
        approve(team.registry, team["bob"], release.name, "production", "again")
        assert promote(team.registry, team["sam"], release.name, "production").fact.generation == 1

    def test_rollback_skips_break_glass_and_children_of_revoked_releases(self, team: Team) -> None:
        parent = make_approved_release(team)
        child, last = make_approved_release(team, parent=parent.name), make_approved_release(team)
        odd = add_release(team.registry, team["sam"], NAME, team.another()).fact
        break_glass = BreakGlass("down", timedelta(hours=1))
        promote(team.registry, team["ann"], odd.name, "production", break_glass=break_glass)
        for release in (child, last):
            promote(team.registry, team["sam"], release.name, "production")
        revoke_release(team.registry, team["bob"], parent.name, "bad data")
        with pytest.raises(RegistryError, match="promoted by break-glass only") as error:
            rollback(team.registry, team["bob"], PRODUCTION, "it misses")
        assert "bad data" in error.value.what

    def test_rollback_skips_an_expired_approval(self, local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        first = make_approved_release(local)
        second = add_release(local.registry, local["sam"], NAME, local.another()).fact
        attach_evidence(local, second)
        approve(local.registry, local["bob"], second.name, "production", "for a while", timedelta(hours=1))
        third = make_approved_release(local)
        for release in (first, second, third):
            promote(local.registry, local["sam"], release.name, "production")
        later = clock.utc_now() + timedelta(hours=2)
        monkeypatch.setattr(clock, "utc_now", lambda: later)
        assert rollback(local.registry, local["bob"], PRODUCTION, "it misses")[0].fact.number == first.number


class TestStolenKeys:
    def test_channel_reverts_the_promotion_of_a_stolen_key(self, team: Team) -> None:
        first, second = make_approved_release(team), make_approved_release(team)
        promote(team.registry, team["sam"], first.name, "production")
        promote(team.registry, team["bea"], second.name, "production")
        retire_key(team.registry, team["ann"], team["bea"].public_key.keyid, "stolen", stolen=True)
        with team.registry.view() as state:
            assert resolve(state, PRODUCTION).name == first.name
        assert promote(team.registry, team["sam"], second.name, "production").fact.generation == 3
        assert verify(team.registry).is_valid

    def test_revocation_by_a_stolen_key_stays_valid(self, team: Team) -> None:
        release = make_approved_release(team)
        revoke_release(team.registry, team["bob"], release.name, "bad")
        retire_key(team.registry, team["ann"], team["bob"].public_key.keyid, "stolen", stolen=True)
        with team.registry.view() as state, pytest.raises(RegistryError, match="is revoked: bad"):
            resolve(state, release.name)

    def test_second_retirement_does_not_restore_a_stolen_key(self, team: Team) -> None:
        release = make_approved_release(team)
        for stolen in (True, False):
            retire_key(team.registry, team["ann"], team["bob"].public_key.keyid, "twice", stolen=stolen)
        with pytest.raises(RegistryError, match="approvals: 0 of 1"):
            promote(team.registry, team["sam"], release.name, "production")

    def test_release_of_a_stolen_key_can_be_added_again(self, team: Team) -> None:
        source = team.another()
        release = add_release(team.registry, team["sam"], NAME, source).fact
        retire_key(team.registry, team["ann"], team["sam"].public_key.keyid, "stolen", stolen=True)
        again = add_release(team.registry, team["ann"], NAME, source).fact
        assert again.number == 2
        with team.registry.view() as state:
            assert resolve(state, f"{NAME}@sha256:{release.digest}").name == again.name

    def test_stolen_founder_key_voids_the_policy(self, team: Team, tmp_path: Path) -> None:
        other = generate_key(tmp_path / "other.pem")
        enroll(team.registry, team["ann"], "olga", public_key_path(tmp_path / "other.pem"), ("admin",), None)
        release = make_approved_release(team)
        retire_key(team.registry, other, team["ann"].public_key.keyid, "stolen", stolen=True)
        with pytest.raises(RegistryError, match="no policy was set by a trusted key"):
            promote(team.registry, team["sam"], release.name, "staging")
        set_policy(team.registry, other, Policy(channels={"*": ChannelRule()}))
        promote(team.registry, team["sam"], release.name, "staging")

    def test_log_is_readable_after_a_self_retirement(self, team: Team, tmp_path: Path) -> None:
        enroll(team.registry, team["ann"], "ann", _public(tmp_path), ("admin",), None)
        release = make_approved_release(team)
        retire_key(team.registry, team["ann"], team["ann"].public_key.keyid, "a new one")
        with team.registry.view() as state:
            assert state.identities[team["ann"].public_key.keyid].retired is not None
        assert verify(team.registry).is_valid
        promote(team.registry, team["sam"], release.name, "production")

    def test_approval_at_the_time_of_the_retirement_counts(self, local: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        release = make_approved_release(local)
        earlier = clock.utc_now() - timedelta(seconds=30)
        monkeypatch.setattr(clock, "utc_now", lambda: earlier)
        retire_key(local.registry, local["ann"], local["bob"].public_key.keyid, "left")
        promote(local.registry, local["sam"], release.name, "production")


def _public(tmp_path: Path) -> Path:
    generate_key(tmp_path / "new.pem")
    return public_key_path(tmp_path / "new.pem")


def test_parent_cycle_is_rejected(local: Team) -> None:
    source = local.another()
    add_release(local.registry, local["sam"], "x/a", source)
    with pytest.raises(RegistryError, match="cannot be its own parent"):
        add_release(local.registry, local["sam"], "x/b", source, ReleaseMetadata(parent="x/a@1"))
    child = add_release(local.registry, local["sam"], "x/c", local.another(), ReleaseMetadata(parent="x/a@1")).fact
    assert child.digest in build_lineage(local.registry, "x/a@1").nodes


@pytest.mark.parametrize("lineage_", [{"base": "x"}, {"datasets": []}, {"seed": float("nan")}, {"versions": 5}])
def test_invalid_lineage_is_rejected(local: Team, lineage_: dict[str, Any]) -> None:
    with pytest.raises(RegistryError, match=r"its lineage|NaN is not a number"):
        add_release(local.registry, local["sam"], NAME, local.another(lineage=lineage_))
