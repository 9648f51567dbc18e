"""Adding releases: bytes are stored, numbers are used once, and only adapters are accepted."""

import json
import shutil
from pathlib import Path

import pytest

from worldtune.errors import AdapterError, RegistryError, UserError
from worldtune.registry.events.events import ReleaseAdded
from worldtune.registry.governance.approval import revoke_release
from worldtune.registry.releases.add import ReleaseMetadata, add_release, digest_calibration
from worldtune.registry.releases.provenance import PREDICATE_TYPE
from worldtune.registry.signing.dsse import verify_envelope
from worldtune.registry.signing.keys import parse_public_key
from worldtune.registry.verify import verify

from ..conftest import NAME, Team
from ..log_support import list_events


def test_numbers_count_up_for_each_name(team: Team) -> None:
    numbers = [add_release(team.registry, team["sam"], NAME, team.another()).fact.number for _ in range(3)]
    other = add_release(team.registry, team["ann"], "cell8/front/pick", team.another()).fact
    assert (numbers, other.number) == ([1, 2, 3], 1)


def test_same_bytes_are_the_same_release(team: Team) -> None:
    source = team.another()
    first = add_release(team.registry, team["sam"], NAME, source)
    assert add_release(team.registry, team["sam"], NAME, source) == first
    assert add_release(team.registry, team["sam"], "cell8/pick", source).fact.digest == first.fact.digest
    assert verify(team.registry).is_valid


def test_same_bytes_with_other_metadata_are_rejected(team: Team) -> None:
    source = team.another()
    release = add_release(team.registry, team["sam"], NAME, source, ReleaseMetadata(labels={"a": "b"})).fact
    assert add_release(team.registry, team["sam"], NAME, source, ReleaseMetadata(labels={"a": "b"})).fact == release
    for metadata in (ReleaseMetadata(calibration="8" * 64), ReleaseMetadata(labels={"a": "c"})):
        with pytest.raises(RegistryError, match="with different metadata"):
            add_release(team.registry, team["sam"], NAME, source, metadata)
    revoke_release(team.registry, team["bob"], release.name, "bad")
    with pytest.raises(RegistryError, match="cell7/front/pick@1 is revoked: bad"):
        add_release(team.registry, team["sam"], NAME, source)


def test_run_records_are_stored_with_the_adapter(team: Team, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(team.another(), run / "adapter")
    (run / "recipe.yaml").write_text("name: a\n")
    (run / "lineage.json").write_text('{"resumed_with": [{"code": "b"}]}')
    (run / "environment.txt").write_text("torch==2.13.0\n")
    (run / "checkpoints").mkdir()
    release = add_release(team.registry, team["sam"], NAME, run).fact
    names = [entry.name for entry in team.registry.store.manifest(release.digest).files]
    expected = ["adapter.json", "environment.txt", "lineage.json", "pytorch_lora_weights.safetensors", "recipe.yaml"]
    assert names == expected


def test_provenance_is_slsa_and_signed_by_the_submitter(team: Team) -> None:
    lineage = {"code": "c0ffee", "seed": 3, "datasets": {"data": "1" * 64, "retention": None},
               "base": {"source": "nvidia/x", "revision": "abc", "digest": "2" * 64}}  # fmt: skip
    release = add_release(team.registry, team["sam"], NAME, team.another(lineage=lineage)).fact
    with team.registry.view() as state:
        key = state.identities[team["sam"].public_key.keyid].public
    content = verify_envelope(team.registry.store.read(release.provenance), key, "provenance")
    assert content["predicateType"] == PREDICATE_TYPE
    subjects = {subject["name"]: subject["digest"]["sha256"] for subject in content["subject"]}
    assert subjects[NAME] == release.digest
    assert subjects["pytorch_lora_weights.safetensors"] == release.weights
    definition = content["predicate"]["buildDefinition"]
    assert [item["name"] for item in definition["resolvedDependencies"]] == ["base", "dataset data", "worldtune"]
    assert definition["internalParameters"]["seed"] == 3


def test_weights_must_match_the_card(team: Team) -> None:
    source = team.another(weights_digest="0" * 64)
    with pytest.raises(AdapterError, match="the weights do not match the card"):
        add_release(team.registry, team["sam"], NAME, source)
    assert list(team.registry.store.digests()) == []


@pytest.mark.parametrize("planted", ["run.py", "weights.pt"])
def test_forbidden_file_type_is_rejected(team: Team, planted: str) -> None:
    source = team.another()
    (source / planted).write_bytes(b"")
    with pytest.raises(RegistryError, match=f"{planted} is not allowed"):
        add_release(team.registry, team["sam"], NAME, source)


def test_link_in_a_run_is_rejected(team: Team, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(team.another(), run / "adapter")
    (run / "recipe.yaml").symlink_to("/etc/hostname")
    with pytest.raises(RegistryError, match=r"recipe\.yaml is a link"):
        add_release(team.registry, team["sam"], NAME, run)


def test_folder_without_an_adapter_is_rejected(team: Team, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no adapter here"):
        add_release(team.registry, team["sam"], NAME, tmp_path)


def test_parent_must_exist(team: Team) -> None:
    with pytest.raises(RegistryError, match="there is no adapter with this name"):
        add_release(
            team.registry,
            team["sam"],
            NAME,
            team.another(),
            ReleaseMetadata(parent="cell1/pick@1"),
        )
    parent = add_release(team.registry, team["sam"], NAME, team.another()).fact
    child = add_release(team.registry, team["sam"], NAME, team.another(), ReleaseMetadata(parent=parent.name)).fact
    assert child.parent == parent.digest


def test_failing_store_leaves_the_log_unchanged(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = team.registry.folder / "blobs"
    blobs.write_text("a file where a folder was")
    with pytest.raises(UserError, match="cannot create the folder") as error:
        add_release(team.registry, team["sam"], NAME, team.another())
    assert error.value.hint
    blobs.unlink()
    assert list_events(team.registry, ReleaseAdded) == []
    assert add_release(team.registry, team["sam"], NAME, team.another()).fact.number == 1


def test_calibration_must_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "front.yaml").write_text(json.dumps([1]))
    assert len(digest_calibration(tmp_path / "front.yaml")) == 64
    with pytest.raises(RegistryError, match="there is no calibration file"):
        digest_calibration(tmp_path / "none.yaml")


def test_public_key_round_trip(team: Team) -> None:
    for person, path in (("sam", "sam.pem.pub"), ("bob", "bob.pem.pub")):
        pem = (team.registry.folder / "keys" / path).read_text()
        assert parse_public_key(pem).keyid == team[person].public_key.keyid
