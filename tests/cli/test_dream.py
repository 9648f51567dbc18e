"""`worldtune dream`: make, show, export and withdraw on pocket, and its errors."""

import json
from pathlib import Path

import pytest

from dreams.conftest import DATA, adapters, dataset, idm, world
from worldtune.adapters.used import Used
from worldtune.dreams.idm.model import InverseDynamics, save_idm

from .in_process import Verb, fault, in_process

__all__ = ["adapters", "dataset", "idm", "in_process", "world"]


@pytest.fixture
def model(idm: InverseDynamics, tmp_path: Path) -> Path:
    save_idm(tmp_path / "idm", idm.networks, idm.card)
    return tmp_path / "idm"


def test_dreams_are_made_shown_exported_and_withdrawn(
    in_process: Verb, model: Path, adapters: dict[str, Used], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLDTUNE_REGISTRY", str(tmp_path / "registry"))
    monkeypatch.setenv("WORLDTUNE_KEY", str(tmp_path / "key.pem"))
    paths = [adapters[name].path for name in ("one", "two")]
    (tmp_path / "dreams.yaml").write_text(json.dumps({"data": DATA, "idm": "idm", "steps": 1, "critics": []}))
    options = ["--out", "dreams", "--adapter", paths[0], "--adapter", paths[1], "--max-dreams", "4"]
    done = in_process("dream", "dreams.yaml", *options)
    assert done.code == 0, done.err
    first, second, last = done.out.splitlines()
    assert first == "4 dreams of 12 combinations (4 success)"
    assert second.startswith("4 dreams of 12 combinations (4 success), 4 already made; about 0 s and 0 MiB to go")
    assert last == f"4 of 4 dreams are kept: 2 success by {paths[0]}, 2 success by {paths[1]}"
    assert in_process("dream", "show", "dreams").out == last + "\n"
    rows = json.loads(in_process("dream", "show", "dreams", "--json").out)
    assert [row["name"] for row in rows] == ["000000", "000001", "000002", "000003"]
    assert in_process("dream", "export", "dreams", "--out", "data").out == "4 episodes, 80 frames: data\n"

    assert in_process("registry", "init", "--person", "ann").code == 0
    for path in paths:
        assert in_process("registry", "add", "cell7/front/pick", path).code == 0
    assert in_process("registry", "derive", "episodes", "dreams").code == 0
    assert in_process("registry", "derive", "dataset", "data").code == 0
    revoked = in_process("registry", "revoke", "cell7/front/pick@1", "--reason", "wrong calibration")
    assert "note: episodes dreams (" in revoked.err
    assert "note: dataset data (" in revoked.err
    withdrawn = in_process("dream", "withdraw", "dreams", "--adapter", paths[0], "--dataset", "data")
    assert withdrawn.out == "2 dreams are withdrawn, 2 are kept\nexported again: data\n"
    assert in_process("registry", "derive", "dataset", "data").code == 0
    lineage = in_process("registry", "lineage", "data").out
    assert "cell7/front/pick@2" in lineage
    assert "cell7/front/pick@1" not in lineage


def test_mistakes_are_told_in_one_line(in_process: Verb, model: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    base = ("dream", "--idm", "idm", "--critic", "none", "--out", "dreams")
    assert "the folder has no images" in fault(in_process, *base, "--images", "images")
    assert "give first frames: either images or data" in fault(in_process, *base)
    assert "there is no such request" in fault(in_process, "dream", "gone.yaml")
    assert "the key 'idm' is missing" in fault(in_process, "dream", "--data", "builtin:pocket-new-view")
    assert "--workers needs a Ray cluster" in fault(in_process, *base, "--images", "images", "--workers", "2")
    assert "this is not a folder of dreams" in fault(in_process, "dream", "show", "images")
    assert not (tmp_path / "dreams").exists()


def test_help_names_every_part(in_process: Verb) -> None:
    page = in_process("dream", "--help").out
    assert all(f"\n  {part}" in page for part in ("make", "show", "export", "withdraw"))
    assert in_process("dream").out.strip() == page.strip()
