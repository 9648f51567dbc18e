"""Kept dreams become a dataset, and an adapter's dreams can be withdrawn from both."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from worldtune.core.files import digest_file
from worldtune.data.dataset import build_dataset
from worldtune.data.made_with import read_made_with
from worldtune.data.spec import DataSpec
from worldtune.dreams.dream_set import DreamSet
from worldtune.dreams.idm.labels_file import read_labels
from worldtune.dreams.ledger import read_rows, write_rows
from worldtune.errors import DataError


@pytest.fixture
def dreams(made: DreamSet, tmp_path: Path) -> DreamSet:
    """A copy of the finished dreams, all kept."""
    folder = tmp_path / "dreams"
    shutil.copytree(made.folder, folder)
    write_rows(folder, [row.model_copy(update={"kept": True, "reason": ""}) for row in made.ledger])
    return DreamSet(folder)


def adapters_of(dataset: Path) -> list[str]:
    episodes = pq.read_table(next((dataset / "meta" / "episodes").rglob("*.parquet")))
    return list(episodes["lineage/adapter"].to_pylist())


def test_kept_dreams_become_a_dataset_with_actions(dreams: DreamSet, tmp_path: Path) -> None:
    rows = dreams.ledger
    write_rows(dreams.folder, [rows[0].model_copy(update={"kept": False, "reason": "motion: x"}), *rows[1:]])
    exported = DreamSet(dreams.folder).export(tmp_path / "data", robot_type="sawyer")
    assert (exported.episodes, exported.frames) == (5, 100)
    spec = DataSpec(path=str(tmp_path / "data"), frames=20, fps=16, height=64, width=64)
    clips = build_dataset(spec).train
    assert [clip.task for clip in clips] == [row.task for row in rows[1:]]
    labels = read_labels(dreams.folder / "labels" / "000001.npz")
    assert clips[0].actions is not None
    assert labels.states_TS is not None
    np.testing.assert_allclose(clips[0].actions, np.tile(labels.commands_ID, (1, 5)), rtol=1e-6)
    np.testing.assert_allclose(clips[0].states, labels.states_TS[:-1], rtol=1e-6)
    assert adapters_of(tmp_path / "data") == [row.adapter for row in rows[1:]]
    assert read_made_with(tmp_path / "data") == dreams.made_with


def test_withdrawn_adapter_leaves_dreams_and_dataset(dreams: DreamSet, tmp_path: Path) -> None:
    data = tmp_path / "data"
    dreams.export(data)
    one, two = (row.adapter for row in dreams.ledger[:2])
    assert one is not None
    done = dreams.withdraw("one", [data])
    assert (done.withdrawn, done.kept) == (3, 3)
    assert [row.withdrawn for row in dreams.ledger] == [True, False] * 3
    assert sorted(path.name for path in (dreams.folder / "videos").iterdir()) == [f"00000{n}.mp4" for n in (1, 3, 5)]
    assert sorted(path.name for path in (dreams.folder / "labels").iterdir()) == [f"00000{n}.npz" for n in (1, 3, 5)]
    assert adapters_of(data) == [two] * 3
    assert [adapter.card for adapter in read_made_with(dreams.folder).adapters] == [two]
    assert [adapter.card for adapter in read_made_with(data).adapters] == [two]
    again = digest_file(dreams.folder / "ledger.jsonl")
    assert dreams.withdraw(one[:12]).withdrawn == 3
    assert digest_file(dreams.folder / "ledger.jsonl") == again


def test_duplicate_of_a_withdrawn_dream_is_kept(dreams: DreamSet) -> None:
    shutil.copy(dreams.folder / "videos" / "000000.mp4", dreams.folder / "videos" / "000001.mp4")
    rows = dreams.ledger
    duplicate = {"kept": False, "duplicate_of": "000000", "reason": "duplicate: of 000000"}
    write_rows(dreams.folder, [rows[0], rows[1].model_copy(update=duplicate), *rows[2:]])
    assert DreamSet(dreams.folder).withdraw("one").kept == 3
    assert [row.kept for row in read_rows(dreams.folder)][:2] == [False, True]


def test_unknown_adapter_and_empty_remainder_are_refused(dreams: DreamSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no adapters of these dreams are called three.*made with: one .*, two "):
        dreams.withdraw("three")
    dreams.export(tmp_path / "data")
    dreams.withdraw("one")
    with pytest.raises(DataError, match=r"no dream is left, but this dataset still has the withdrawn ones.*Delete it"):
        dreams.withdraw("two", [tmp_path / "data"])
    with pytest.raises(DataError, match="all dreams were rejected"):
        dreams.export(tmp_path / "data")


def test_other_folders_are_no_exports(dreams: DreamSet, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="this is not a dataset of dreams"):
        dreams.withdraw("one", [tmp_path / "other"])
    assert not any(row.withdrawn for row in read_rows(dreams.folder))
