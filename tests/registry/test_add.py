"""Adding: bytes are kept, numbers are used once, and what is not an adapter is not taken."""

import json
import shutil
from pathlib import Path

import pytest

from worldtune.errors import AdapterError, RegistryError, UserError
from worldtune.registry.add import About, add, calibration_digest
from worldtune.registry.approval import revoke
from worldtune.registry.facts import Released
from worldtune.registry.keys import public_key
from worldtune.registry.provenance import PROVENANCE
from worldtune.registry.statements import opened
from worldtune.registry.verify import verify

from .conftest import NAME, Team
from .log_support import events_of


def test_numbers_go_on_from_name_to_name(team: Team) -> None:
    numbers = [add(team.registry, team["sam"], NAME, team.another()).fact.number for _ in range(3)]
    other = add(team.registry, team["ann"], "cell8/front/pick", team.another()).fact
    assert (numbers, other.number) == ([1, 2, 3], 1)


def test_the_same_bytes_are_the_same_release(team: Team) -> None:
    source = team.another()
    first = add(team.registry, team["sam"], NAME, source)
    assert add(team.registry, team["sam"], NAME, source) == first
    assert add(team.registry, team["sam"], "cell8/pick", source).fact.digest == first.fact.digest
    assert verify(team.registry).sound


def test_what_is_said_of_bytes_is_said_once_and_revoked_ones_are_not_taken_again(team: Team) -> None:
    source = team.another()
    release = add(team.registry, team["sam"], NAME, source, About(labels={"a": "b"})).fact
    assert add(team.registry, team["sam"], NAME, source, About(labels={"a": "b"})).fact == release
    for about in (About(calibration="8" * 64), About(labels={"a": "c"})):
        with pytest.raises(RegistryError, match="already, of which something else was said"):
            add(team.registry, team["sam"], NAME, source, about)
    revoke(team.registry, team["bob"], release.name, "bad")
    with pytest.raises(RegistryError, match="cell7/front/pick@1 is revoked: bad"):
        add(team.registry, team["sam"], NAME, source)


def test_of_a_run_is_kept_what_it_was_made_from(team: Team, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(team.another(), run / "adapter")
    (run / "recipe.yaml").write_text("name: a\n")
    (run / "lineage.json").write_text('{"resumed_with": [{"code": "b"}]}')
    (run / "environment.txt").write_text("torch==2.13.0\n")
    (run / "checkpoints").mkdir()
    release = add(team.registry, team["sam"], NAME, run).fact
    names = [entry.name for entry in team.registry.store.manifest(release.digest).files]
    expected = ["adapter.json", "environment.txt", "lineage.json", "pytorch_lora_weights.safetensors", "recipe.yaml"]
    assert names == expected


def test_its_provenance_is_slsa_signed_by_who_added_it(team: Team) -> None:
    lineage = {"code": "c0ffee", "seed": 3, "datasets": {"data": "1" * 64, "forgetting": None},
               "base": {"source": "nvidia/x", "revision": "abc", "digest": "2" * 64}}  # fmt: skip
    release = add(team.registry, team["sam"], NAME, team.another(lineage=lineage)).fact
    with team.registry.view() as state:
        key = state.identities[team["sam"].public_key.keyid].public
    content = opened(team.registry.store.read(release.provenance), key, "provenance")
    assert content["predicateType"] == PROVENANCE
    subjects = {one["name"]: one["digest"]["sha256"] for one in content["subject"]}
    assert subjects[NAME] == release.digest
    assert subjects["pytorch_lora_weights.safetensors"] == release.weights
    definition = content["predicate"]["buildDefinition"]
    assert [one["name"] for one in definition["resolvedDependencies"]] == ["base", "dataset data", "worldtune"]
    assert definition["internalParameters"]["seed"] == 3


def test_weights_that_are_not_those_of_the_card_are_refused(team: Team) -> None:
    source = team.another(weights_digest="0" * 64)
    with pytest.raises(AdapterError, match="the weights are not those of the card"):
        add(team.registry, team["sam"], NAME, source)
    assert list(team.registry.store.digests()) == []


@pytest.mark.parametrize("planted", ["run.py", "weights.pt"])
def test_what_may_not_be_in_a_release_is_refused(team: Team, planted: str) -> None:
    source = team.another()
    (source / planted).write_bytes(b"")
    with pytest.raises(RegistryError, match=f"{planted} is of a kind that is not taken"):
        add(team.registry, team["sam"], NAME, source)


def test_a_link_in_a_run_is_refused(team: Team, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(team.another(), run / "adapter")
    (run / "recipe.yaml").symlink_to("/etc/hostname")
    with pytest.raises(RegistryError, match=r"recipe\.yaml is a link"):
        add(team.registry, team["sam"], NAME, run)


def test_a_folder_without_an_adapter_is_refused(team: Team, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no adapter here"):
        add(team.registry, team["sam"], NAME, tmp_path)


def test_a_parent_must_be_there(team: Team) -> None:
    with pytest.raises(RegistryError, match="there is no adapter of that name"):
        add(team.registry, team["sam"], NAME, team.another(), About(parent="cell1/pick@1"))
    parent = add(team.registry, team["sam"], NAME, team.another()).fact
    child = add(team.registry, team["sam"], NAME, team.another(), About(parent=parent.name)).fact
    assert child.parent == parent.digest


def test_a_store_that_went_away_leaves_the_record_as_it_was(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = team.registry.folder / "blobs"
    blobs.write_text("a file where a folder was")
    with pytest.raises(UserError, match="cannot create the folder") as error:
        add(team.registry, team["sam"], NAME, team.another())
    assert error.value.mend
    blobs.unlink()
    assert events_of(team.registry, Released) == []
    assert add(team.registry, team["sam"], NAME, team.another()).fact.number == 1


def test_a_calibration_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "front.yaml").write_text(json.dumps([1]))
    assert len(calibration_digest(tmp_path / "front.yaml")) == 64
    with pytest.raises(RegistryError, match="there is no calibration file"):
        calibration_digest(tmp_path / "none.yaml")


def test_a_key_is_read_as_it_was_written(team: Team) -> None:
    for person, path in (("sam", "sam.pem.pub"), ("bob", "bob.pem.pub")):
        pem = (team.registry.folder / "keys" / path).read_text()
        assert public_key(pem).keyid == team[person].public_key.keyid
