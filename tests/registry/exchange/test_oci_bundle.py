"""Export from one site and import at another: everything is verified, and errors name the damage."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worldtune.core.canonical_json import canonical_json
from worldtune.core.files import digest_bytes
from worldtune.errors import RegistryError, UserError
from worldtune.registry.events.events import ReleaseAdded, ReleaseApproved, ReleaseEvaluated
from worldtune.registry.exchange.import_release import import_release
from worldtune.registry.exchange.oci_bundle import export_release
from worldtune.registry.governance.admin import enroll, retire_key, set_policy
from worldtune.registry.governance.approval import approve, revoke_release
from worldtune.registry.governance.promotion import promote
from worldtune.registry.policy import ChannelRule, Policy
from worldtune.registry.releases.checkout import resolve_adapter
from worldtune.registry.signing.keys import public_key_path
from worldtune.registry.verify import verify

from ..conftest import NAME, ROLES, Team
from ..log_support import append_unchecked, list_events
from ..prepared import make_approved_release

Members = dict[str, bytes]


@pytest.fixture
def tar(local: Team, tmp_path: Path) -> Path:
    """An exported release with evidence and an approval."""
    make_approved_release(local)
    export_release(local.registry, f"{NAME}@1", tmp_path / "release.tar")
    return tmp_path / "release.tar"


def members(tar: Path) -> Members:
    with tarfile.open(tar) as file:
        return {member.name: file.extractfile(member).read() for member in file}  # type: ignore[union-attr]


def write(target: Path, content: Members) -> Path:
    with tarfile.open(target, "w") as file:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return target


def untouched(site: Team) -> bool:
    """Return whether nothing was imported."""
    return list_events(site.registry, ReleaseAdded) == [] and verify(site.registry).is_valid


def test_imported_release_with_its_approvals_can_be_promoted(local: Team, away: Team, tar: Path) -> None:
    imported = import_release(away.registry, away["sam"], tar)
    assert imported.rejected == ()
    assert [event.fact.kind for event in imported.accepted] == ["release_evaluated", "release_approved"]
    release = imported.release.fact
    assert (release.name, release.author, release.origin) == (f"{NAME}@1", "sam", f"{NAME}@1")
    assert promote(away.registry, away["sam"], release.name, "production").fact.number == 1
    folder = resolve_adapter(f"{NAME}@production", print, away.registry.folder).path
    assert folder.name == release.digest
    assert verify(away.registry).faults == []
    again = import_release(away.registry, away["sam"], tar)
    assert (again.release, again.accepted) == (imported.release, ())


def test_same_release_gives_the_same_tar(local: Team, tar: Path, tmp_path: Path) -> None:
    assert export_release(local.registry, f"{NAME}@1", tmp_path / "again.tar") == digest_bytes(tar.read_bytes())


def test_tar_is_an_oci_image_layout(tar: Path) -> None:
    content = members(tar)
    assert json.loads(content["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (one,) = json.loads(content["index.json"])["manifests"]
    image = json.loads(content["blobs/sha256/" + one["digest"].removeprefix("sha256:")])
    for described in (one, image["config"], *image["layers"]):
        blob = content["blobs/sha256/" + described["digest"].removeprefix("sha256:")]
        assert described["digest"] == f"sha256:{digest_bytes(blob)}"
        assert described["size"] == len(blob)
    titles = [
        layer["annotations"]["org.opencontainers.image.title"] for layer in image["layers"] if "annotations" in layer
    ]
    assert titles == ["adapter.json", "pytorch_lora_weights.safetensors"]


def test_imported_release_can_be_exported_again(
    local: Team, away: Team, tar: Path, make_team: Callable[..., Team], tmp_path: Path
) -> None:
    import_release(away.registry, away["sam"], tar)
    export_release(away.registry, f"{NAME}@1", tmp_path / "on.tar")
    third = make_team(folder="third")
    for site in (local, away):
        for person, roles in ROLES.items():
            enroll(
                third.registry,
                third["ann"],
                person,
                public_key_path(site.registry.folder / "keys" / f"{person}.pem"),
                roles,
                None,
            )
    imported = import_release(third.registry, third["sam"], tmp_path / "on.tar")
    assert imported.release.fact.author == "sam"
    assert {event.fact.kind for event in imported.accepted} == {"release_evaluated", "release_approved"}
    promote(third.registry, third["sam"], f"{NAME}@1", "production")
    assert verify(third.registry).is_valid


def test_release_of_an_unknown_author_is_not_imported(make_team: Callable[..., Team], local: Team, tar: Path) -> None:
    strangers = make_team(folder="strangers")
    with pytest.raises(RegistryError, match="is not enrolled in this registry"):
        import_release(strangers.registry, strangers["sam"], tar)
    assert untouched(strangers)


def test_approvals_of_unknown_people_do_not_count(make_team: Callable[..., Team], local: Team, tar: Path) -> None:
    site = make_team(folder="site")
    enroll(
        site.registry,
        site["ann"],
        "sam",
        public_key_path(local.registry.folder / "keys" / "sam.pem"),
        ("submitter",),
        None,
    )
    imported = import_release(site.registry, site["sam"], tar)
    assert imported.accepted == ()
    assert len(imported.rejected) == 2
    with pytest.raises(RegistryError, match="approvals: 0 of 1"):
        promote(site.registry, site["sam"], imported.release.fact.name, "production")


def test_imported_approval_of_a_stolen_key_is_void(local: Team, away: Team, tar: Path) -> None:
    import_release(away.registry, away["sam"], tar)
    retire_key(away.registry, away["ann"], local["bob"].public_key.keyid, "stolen", stolen=True)
    with pytest.raises(RegistryError, match="approvals: 0 of 1"):
        promote(away.registry, away["sam"], f"{NAME}@1", "production")


def test_forged_approval_cannot_be_imported(local: Team, away: Team, tar: Path) -> None:
    """The importer writes the row, but only the signed statement in it counts."""
    import_release(away.registry, away["sam"], tar)
    set_policy(away.registry, away["ann"], Policy(channels={"*": ChannelRule(approvals=1)}))
    (real,) = list_events(away.registry, ReleaseApproved)
    forged = real.fact.model_copy(update={"channel": "staging", "reason": "forged"})
    with pytest.raises(RegistryError, match="from what bob signed"), away.registry.writer(away["sam"]) as writer:
        writer.append(forged)
    append_unchecked(away.registry, away["sam"], forged)
    with pytest.raises(RegistryError, match="approvals: 0 of 1"):
        promote(away.registry, away["sam"], f"{NAME}@1", "staging")
    assert any("differs from what bob signed" in fault for fault in verify(away.registry).faults)
    with pytest.raises(RegistryError, match="this needs approver"), away.registry.writer(away["sam"]) as writer:
        writer.append(real.fact.model_copy(update={"person": "sam", "statement": None}))


def test_revoked_release_is_not_exported(local: Team, tar: Path, tmp_path: Path) -> None:
    revoke_release(local.registry, local["bob"], f"{NAME}@1", "bad")
    with pytest.raises(RegistryError, match="is revoked"):
        export_release(local.registry, f"{NAME}@1", tmp_path / "no.tar")
    assert not (tmp_path / "no.tar").exists()


def test_damaged_bytes_are_not_exported(local: Team, tar: Path, tmp_path: Path) -> None:
    release = list_events(local.registry, ReleaseAdded)[0].fact
    Path(local.registry.store.path(release.weights)).write_bytes(b"x")
    with pytest.raises(RegistryError, match="the bytes of pytorch_lora_weights"):
        export_release(local.registry, f"{NAME}@1", tmp_path / "no.tar")
    assert not (tmp_path / "no.tar").exists()


class TestTampering:
    """Changes to every kind of bytes in a tar."""

    def refused(self, away: Team, tar: Path, why: str) -> None:
        with pytest.raises(UserError, match=why):
            import_release(away.registry, away["sam"], tar)
        assert untouched(away)

    @pytest.mark.parametrize("where", range(40))
    def test_changed_byte_of_a_blob_is_rejected(self, away: Team, tar: Path, tmp_path: Path, where: int) -> None:
        content = members(tar)
        blobs = sorted(name for name in content if name.startswith("blobs/"))
        name = blobs[where % len(blobs)]
        data = bytearray(content[name])
        data[where * 7919 % len(data)] ^= 1
        self.refused(
            away, write(tmp_path / "t.tar", content | {name: bytes(data)}), f"the bytes of {name} do not match"
        )

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("../escape", "does not belong in an exported release"),
            ("/etc/escape", "does not belong in an exported release"),
            ("blobs/sha256/../../escape", "does not belong in an exported release"),
            ("blobs/sha256/" + "A" * 64, "does not belong in an exported release"),
            ("INDEX.JSON", "does not belong in an exported release"),
            ("blobs/sha256/" + digest_bytes(b"extra"), "its blobs do not match its image manifest"),
        ],
    )
    def test_unexpected_tar_member_is_rejected(
        self, away: Team, tar: Path, tmp_path: Path, name: str, why: str
    ) -> None:
        self.refused(away, write(tmp_path / "t.tar", members(tar) | {name: b"extra"}), why)
        assert not list(tmp_path.parent.rglob("escape"))

    @pytest.mark.parametrize(
        "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
    )
    def test_link_or_device_in_a_tar_is_rejected(self, away: Team, tar: Path, tmp_path: Path, kind: bytes) -> None:
        planted = tmp_path / "t.tar"
        planted.write_bytes(tar.read_bytes())
        with tarfile.open(planted, "a") as file:
            entry = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
            entry.type, entry.linkname = kind, "/etc/passwd"
            file.addfile(entry)
        self.refused(away, planted, "is a link, folder, sparse or special file")

    def test_duplicate_tar_member_is_rejected(self, away: Team, tar: Path, tmp_path: Path) -> None:
        planted = tmp_path / "t.tar"
        planted.write_bytes(tar.read_bytes())
        with tarfile.open(planted, "a") as file:
            entry = tarfile.TarInfo("index.json")
            entry.size = 2
            file.addfile(entry, io.BytesIO(b"{}"))
        self.refused(away, planted, "occurs twice")

    def test_tar_with_too_many_members_is_rejected(self, away: Team, tmp_path: Path) -> None:
        content = {"blobs/sha256/" + digest_bytes(str(number).encode()): str(number).encode() for number in range(300)}
        self.refused(away, write(tmp_path / "t.tar", content), "the tar is larger than a release may be")

    def test_tar_with_a_huge_member_is_rejected(self, away: Team, tmp_path: Path) -> None:
        """The header states a size above the limit, so the content is never read."""
        entry = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
        entry.size = 1 << 40
        (tmp_path / "t.tar").write_bytes(entry.tobuf() + b"\0" * 1024)
        self.refused(away, tmp_path / "t.tar", "the tar is larger than a release may be")

    def test_compressed_tar_is_rejected(self, away: Team, tar: Path, tmp_path: Path) -> None:
        (tmp_path / "t.tar").write_bytes(gzip.compress(tar.read_bytes()))
        self.refused(away, tmp_path / "t.tar", "the tar cannot be unpacked")

    def test_replaced_manifest_without_its_author_is_rejected(self, away: Team, tar: Path, tmp_path: Path) -> None:
        """Someone replaces a file and fixes everything except the author's signature."""
        content = members(tar)
        index = json.loads(content["index.json"])
        image_name = "blobs/sha256/" + index["manifests"][0]["digest"].removeprefix("sha256:")
        image = json.loads(content.pop(image_name))
        config_name = "blobs/sha256/" + image["config"]["digest"].removeprefix("sha256:")
        manifest = json.loads(content.pop(config_name))
        notes = b"swapped"
        content["blobs/sha256/" + digest_bytes(notes)] = notes
        manifest["files"].insert(1, {"name": "notes.md", "size": len(notes), "sha256": digest_bytes(notes)})
        config = canonical_json(manifest)
        content["blobs/sha256/" + digest_bytes(config)] = config
        image["config"] |= {"digest": f"sha256:{digest_bytes(config)}", "size": len(config)}
        layer = image["layers"][0] | {"digest": f"sha256:{digest_bytes(notes)}", "size": len(notes)}
        image["layers"].insert(1, layer | {"annotations": {"org.opencontainers.image.title": "notes.md"}})
        changed = canonical_json(image)
        content["blobs/sha256/" + digest_bytes(changed)] = changed
        index["manifests"][0] |= {"digest": f"sha256:{digest_bytes(changed)}", "size": len(changed)}
        content["index.json"] = canonical_json(index)
        self.refused(away, write(tmp_path / "t.tar", content), "its author signed another release")

    @pytest.mark.parametrize("name", ["oci-layout", "index.json"])
    def test_tar_without_a_layout_file_is_rejected(self, away: Team, tar: Path, tmp_path: Path, name: str) -> None:
        content = members(tar)
        del content[name]
        self.refused(away, write(tmp_path / "t.tar", content), "not an OCI image layout")

    def test_missing_blob_is_rejected(self, away: Team, tar: Path, tmp_path: Path) -> None:
        content = members(tar)
        for name in [name for name in content if name.startswith("blobs/")]:
            rest = {key: value for key, value in content.items() if key != name}
            self.refused(away, write(tmp_path / "t.tar", rest), "do not match its image manifest|is missing")

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
    @given(position=st.integers(0, 10**6), length=st.integers(1, 600))
    def test_overwritten_tar_bytes_are_rejected(
        self, away: Team, tar: Path, tmp_path: Path, position: int, length: int
    ) -> None:
        data = bytearray(tar.read_bytes())
        end = data.rindex(b"\0" * 1) and len(bytes(data).rstrip(b"\0"))
        start = position % end
        scribbled = (
            bytes(data[:start])
            + bytes(byte ^ 0x55 for byte in data[start : start + length])
            + bytes(data[start + length :])
        )
        (tmp_path / "t.tar").write_bytes(scribbled)
        with away.registry.view() as state:
            before = state.head
        try:
            import_release(away.registry, away["sam"], tmp_path / "t.tar")
        except UserError:
            assert verify(away.registry).head == before
        else:  # padding between members, or a field of a header that nothing reads, may be anything
            assert verify(away.registry).is_valid


def test_imported_evidence_without_results_does_not_count(local: Team, away: Team, tar: Path, tmp_path: Path) -> None:
    content = members(tar)
    index = json.loads(content["index.json"])
    image_name = "blobs/sha256/" + index["manifests"][0]["digest"].removeprefix("sha256:")
    image = json.loads(content.pop(image_name))
    results = [
        layer
        for layer in image["layers"]
        if layer["mediaType"].endswith("results.v1+json") or "results" in layer["mediaType"]
    ]
    for layer in results:
        image["layers"].remove(layer)
        del content["blobs/sha256/" + layer["digest"].removeprefix("sha256:")]
    changed = canonical_json(image)
    content["blobs/sha256/" + digest_bytes(changed)] = changed
    index["manifests"][0] |= {"digest": f"sha256:{digest_bytes(changed)}", "size": len(changed)}
    content["index.json"] = canonical_json(index)
    imported = import_release(away.registry, away["sam"], write(tmp_path / "t.tar", content))
    assert [event.fact.kind for event in imported.accepted] == ["release_approved"]
    assert "its results are missing from the bundle" in imported.rejected[0]
    assert list_events(away.registry, ReleaseEvaluated) == []


def test_second_approval_can_be_imported_later(local: Team, away: Team, tar: Path, tmp_path: Path) -> None:
    import_release(away.registry, away["sam"], tar)
    approve(local.registry, local["bea"], f"{NAME}@1", "production", "me too")
    export_release(local.registry, f"{NAME}@1", tmp_path / "more.tar")
    imported = import_release(away.registry, away["sam"], tmp_path / "more.tar")
    assert [event.fact.person for event in imported.accepted] == ["bea"]
