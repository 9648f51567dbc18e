"""Out of one site as a tar file and into another: everything verified, and every kind of damage refused by name."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from worldtune.errors import RegistryError, UserError
from worldtune.files import digest_bytes
from worldtune.registry.approval import approve, revoke
from worldtune.registry.bring_in import bring_in
from worldtune.registry.bundle import export
from worldtune.registry.enrolment import enrol, retire, set_policy
from worldtune.registry.facts import Approved, Evaluated, Released
from worldtune.registry.keys import public_path
from worldtune.registry.manifest import canonical
from worldtune.registry.policy import Policy, Rule
from worldtune.registry.promotion import promote
from worldtune.registry.use import use
from worldtune.registry.verify import verify

from .conftest import NAME, ROLES, Team
from .log_support import events_of, rogue
from .prepared import ready

Members = dict[str, bytes]


@pytest.fixture
def tar(local: Team, tmp_path: Path) -> Path:
    """An exported release with evidence and an approval."""
    ready(local)
    export(local.registry, f"{NAME}@1", tmp_path / "release.tar")
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
    """Nothing came in."""
    return events_of(site.registry, Released) == [] and verify(site.registry).sound


def test_a_release_goes_over_with_what_speaks_for_it_and_is_promoted_there(local: Team, away: Team, tar: Path) -> None:
    brought = bring_in(away.registry, away["sam"], tar)
    assert brought.left_out == ()
    assert [event.fact.kind for event in brought.counted] == ["evaluated", "approved"]
    release = brought.release.fact
    assert (release.name, release.author, release.origin) == (f"{NAME}@1", "sam", f"{NAME}@1")
    assert promote(away.registry, away["sam"], release.name, "production").fact.number == 1
    folder = use(f"{NAME}@production", print, away.registry.folder).path
    assert folder.name == release.digest
    assert verify(away.registry).faults == []
    again = bring_in(away.registry, away["sam"], tar)
    assert (again.release, again.counted) == (brought.release, ())


def test_the_same_release_is_the_same_tar(local: Team, tar: Path, tmp_path: Path) -> None:
    assert export(local.registry, f"{NAME}@1", tmp_path / "again.tar") == digest_bytes(tar.read_bytes())


def test_it_is_an_image_as_oci_lays_it_out(tar: Path) -> None:
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


def test_it_goes_on_to_a_third_site_with_the_first_ones_signatures(
    local: Team, away: Team, tar: Path, make_team: Callable[..., Team], tmp_path: Path
) -> None:
    bring_in(away.registry, away["sam"], tar)
    export(away.registry, f"{NAME}@1", tmp_path / "on.tar")
    third = make_team(folder="third")
    for site in (local, away):
        for person, roles in ROLES.items():
            enrol(
                third.registry,
                third["ann"],
                person,
                public_path(site.registry.folder / "keys" / f"{person}.pem"),
                roles,
                None,
            )
    brought = bring_in(third.registry, third["sam"], tmp_path / "on.tar")
    assert brought.release.fact.author == "sam"
    assert {event.fact.kind for event in brought.counted} == {"evaluated", "approved"}
    promote(third.registry, third["sam"], f"{NAME}@1", "production")
    assert verify(third.registry).sound


def test_an_author_who_is_not_known_here_brings_nothing(make_team: Callable[..., Team], local: Team, tar: Path) -> None:
    strangers = make_team(folder="strangers")
    with pytest.raises(RegistryError, match="nobody here has the key"):
        bring_in(strangers.registry, strangers["sam"], tar)
    assert untouched(strangers)


def test_approvals_of_people_who_are_not_known_here_do_not_count(
    make_team: Callable[..., Team], local: Team, tar: Path
) -> None:
    site = make_team(folder="site")
    enrol(
        site.registry, site["ann"], "sam", public_path(local.registry.folder / "keys" / "sam.pem"), ("submitter",), None
    )
    brought = bring_in(site.registry, site["sam"], tar)
    assert brought.counted == ()
    assert len(brought.left_out) == 2
    with pytest.raises(RegistryError, match="approvals: 0 of 1"):
        promote(site.registry, site["sam"], brought.release.fact.name, "production")


def test_an_approval_counts_no_more_when_its_key_was_stolen(local: Team, away: Team, tar: Path) -> None:
    bring_in(away.registry, away["sam"], tar)
    retire(away.registry, away["ann"], local["bob"].public_key.keyid, "stolen", stolen=True)
    with pytest.raises(RegistryError, match="approvals: 0 of 1"):
        promote(away.registry, away["sam"], f"{NAME}@1", "production")


def test_nobody_brings_an_approval_that_was_never_given(local: Team, away: Team, tar: Path) -> None:
    """Whoever imports writes the row; what counts is the statement in it."""
    bring_in(away.registry, away["sam"], tar)
    set_policy(away.registry, away["ann"], Policy(channels={"*": Rule(approvals=1)}))
    (real,) = events_of(away.registry, Approved)
    forged = real.fact.model_copy(update={"channel": "staging", "reason": "forged"})
    with pytest.raises(RegistryError, match="it is not what bob signed"), away.registry.writer(away["sam"]) as writer:
        writer.append(forged)
    rogue(away.registry, away["sam"], forged)
    with pytest.raises(RegistryError, match="approvals: 0 of 1"):
        promote(away.registry, away["sam"], f"{NAME}@1", "staging")
    assert any("it is not what bob signed" in fault for fault in verify(away.registry).faults)
    with pytest.raises(RegistryError, match="and it takes approver"), away.registry.writer(away["sam"]) as writer:
        writer.append(real.fact.model_copy(update={"person": "sam", "statement": None}))


def test_a_revoked_release_is_not_sent(local: Team, tar: Path, tmp_path: Path) -> None:
    revoke(local.registry, local["bob"], f"{NAME}@1", "bad")
    with pytest.raises(RegistryError, match="is revoked"):
        export(local.registry, f"{NAME}@1", tmp_path / "no.tar")
    assert not (tmp_path / "no.tar").exists()


def test_damaged_bytes_are_not_sent(local: Team, tar: Path, tmp_path: Path) -> None:
    release = events_of(local.registry, Released)[0].fact
    Path(local.registry.store.path(release.weights)).write_bytes(b"x")
    with pytest.raises(RegistryError, match="the bytes of pytorch_lora_weights"):
        export(local.registry, f"{NAME}@1", tmp_path / "no.tar")
    assert not (tmp_path / "no.tar").exists()


class TestTampering:
    """Each class of bytes in a tar, changed by somebody on the way."""

    def refused(self, away: Team, tar: Path, why: str) -> None:
        with pytest.raises(UserError, match=why):
            bring_in(away.registry, away["sam"], tar)
        assert untouched(away)

    @pytest.mark.parametrize("where", range(40))
    def test_a_changed_byte_of_any_blob(self, away: Team, tar: Path, tmp_path: Path, where: int) -> None:
        content = members(tar)
        blobs = sorted(name for name in content if name.startswith("blobs/"))
        name = blobs[where % len(blobs)]
        data = bytearray(content[name])
        data[where * 7919 % len(data)] ^= 1
        self.refused(away, write(tmp_path / "t.tar", content | {name: bytes(data)}), f"the bytes of {name} are others")

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("../escape", "is no name that such a tar has"),
            ("/etc/escape", "is no name that such a tar has"),
            ("blobs/sha256/../../escape", "is no name that such a tar has"),
            ("blobs/sha256/" + "A" * 64, "is no name that such a tar has"),
            ("INDEX.JSON", "is no name that such a tar has"),
            ("blobs/sha256/" + digest_bytes(b"extra"), "it holds what nothing names"),
        ],
    )
    def test_a_member_that_does_not_belong(self, away: Team, tar: Path, tmp_path: Path, name: str, why: str) -> None:
        self.refused(away, write(tmp_path / "t.tar", members(tar) | {name: b"extra"}), why)
        assert not list(tmp_path.parent.rglob("escape"))

    @pytest.mark.parametrize(
        "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
    )
    def test_a_link_or_a_device(self, away: Team, tar: Path, tmp_path: Path, kind: bytes) -> None:
        planted = tmp_path / "t.tar"
        planted.write_bytes(tar.read_bytes())
        with tarfile.open(planted, "a") as file:
            entry = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
            entry.type, entry.linkname = kind, "/etc/passwd"
            file.addfile(entry)
        self.refused(away, planted, "is a link, a folder, sparse or no plain file")

    def test_a_name_twice(self, away: Team, tar: Path, tmp_path: Path) -> None:
        planted = tmp_path / "t.tar"
        planted.write_bytes(tar.read_bytes())
        with tarfile.open(planted, "a") as file:
            entry = tarfile.TarInfo("index.json")
            entry.size = 2
            file.addfile(entry, io.BytesIO(b"{}"))
        self.refused(away, planted, "is there twice")

    def test_a_bomb_of_many_members(self, away: Team, tmp_path: Path) -> None:
        content = {"blobs/sha256/" + digest_bytes(str(number).encode()): str(number).encode() for number in range(300)}
        self.refused(away, write(tmp_path / "t.tar", content), "it holds more than a release may")

    def test_a_bomb_of_one_member(self, away: Team, tmp_path: Path) -> None:
        """Its header says that it is larger than a release may be; nobody reads so far."""
        entry = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
        entry.size = 1 << 40
        (tmp_path / "t.tar").write_bytes(entry.tobuf() + b"\0" * 1024)
        self.refused(away, tmp_path / "t.tar", "it holds more than a release may")

    def test_a_compressed_bomb_is_not_opened(self, away: Team, tar: Path, tmp_path: Path) -> None:
        (tmp_path / "t.tar").write_bytes(gzip.compress(tar.read_bytes()))
        self.refused(away, tmp_path / "t.tar", "no tar file")

    def test_another_manifest_with_its_own_digests(self, away: Team, tar: Path, tmp_path: Path) -> None:
        """Somebody swaps the weights, and puts everything right but the author's signature."""
        content = members(tar)
        index = json.loads(content["index.json"])
        image_name = "blobs/sha256/" + index["manifests"][0]["digest"].removeprefix("sha256:")
        image = json.loads(content.pop(image_name))
        config_name = "blobs/sha256/" + image["config"]["digest"].removeprefix("sha256:")
        manifest = json.loads(content.pop(config_name))
        notes = b"swapped"
        content["blobs/sha256/" + digest_bytes(notes)] = notes
        manifest["files"].insert(1, {"name": "notes.md", "size": len(notes), "sha256": digest_bytes(notes)})
        config = canonical(manifest)
        content["blobs/sha256/" + digest_bytes(config)] = config
        image["config"] |= {"digest": f"sha256:{digest_bytes(config)}", "size": len(config)}
        layer = image["layers"][0] | {"digest": f"sha256:{digest_bytes(notes)}", "size": len(notes)}
        image["layers"].insert(1, layer | {"annotations": {"org.opencontainers.image.title": "notes.md"}})
        changed = canonical(image)
        content["blobs/sha256/" + digest_bytes(changed)] = changed
        index["manifests"][0] |= {"digest": f"sha256:{digest_bytes(changed)}", "size": len(changed)}
        content["index.json"] = canonical(index)
        self.refused(away, write(tmp_path / "t.tar", content), "its author signed another release")

    @pytest.mark.parametrize("name", ["oci-layout", "index.json"])
    def test_something_is_missing(self, away: Team, tar: Path, tmp_path: Path, name: str) -> None:
        content = members(tar)
        del content[name]
        self.refused(away, write(tmp_path / "t.tar", content), "no OCI image layout")

    def test_any_blob_is_missing(self, away: Team, tar: Path, tmp_path: Path) -> None:
        content = members(tar)
        for name in [name for name in content if name.startswith("blobs/")]:
            rest = {key: value for key, value in content.items() if key != name}
            self.refused(away, write(tmp_path / "t.tar", rest), "lacks what is named|is named, and not there")

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
    @given(position=st.integers(0, 10**6), length=st.integers(1, 600))
    def test_a_scribble_anywhere(self, away: Team, tar: Path, tmp_path: Path, position: int, length: int) -> None:
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
            bring_in(away.registry, away["sam"], tmp_path / "t.tar")
        except UserError:
            assert verify(away.registry).head == before
        else:  # padding between members, or a field of a header that nothing reads, may be anything
            assert verify(away.registry).sound


def test_evidence_without_its_results_does_not_count(local: Team, away: Team, tar: Path, tmp_path: Path) -> None:
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
    changed = canonical(image)
    content["blobs/sha256/" + digest_bytes(changed)] = changed
    index["manifests"][0] |= {"digest": f"sha256:{digest_bytes(changed)}", "size": len(changed)}
    content["index.json"] = canonical(index)
    brought = bring_in(away.registry, away["sam"], write(tmp_path / "t.tar", content))
    assert [event.fact.kind for event in brought.counted] == ["approved"]
    assert "its results did not come along" in brought.left_out[0]
    assert events_of(away.registry, Evaluated) == []


def test_a_second_approval_goes_over_later(local: Team, away: Team, tar: Path, tmp_path: Path) -> None:
    bring_in(away.registry, away["sam"], tar)
    approve(local.registry, local["bea"], f"{NAME}@1", "production", "me too")
    export(local.registry, f"{NAME}@1", tmp_path / "more.tar")
    brought = bring_in(away.registry, away["sam"], tmp_path / "more.tar")
    assert [event.fact.person for event in brought.counted] == ["bea"]
