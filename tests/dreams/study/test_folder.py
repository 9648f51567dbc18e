"""The folder of a study: it continues with the same settings, and refuses others."""

from pathlib import Path

import pytest

from worldtune.dreams.study.folder import StudyFolder
from worldtune.dreams.study.settings import StudySettings
from worldtune.errors import UserError


def test_study_continues_with_the_same_settings(tmp_path: Path) -> None:
    settings = StudySettings(draws=2)
    for _ in range(2):
        StudyFolder(tmp_path / "study").begin(settings)
    assert StudyFolder(tmp_path / "study").settings() == settings


def test_changed_settings_are_named_in_one_line(tmp_path: Path) -> None:
    StudyFolder(tmp_path).begin(StudySettings(draws=2, view="left"))
    before = (tmp_path / "study.json").read_bytes()
    with pytest.raises(UserError) as error:
        StudyFolder(tmp_path).begin(StudySettings(draws=3, view="top"))
    assert error.value.what == "the study's settings changed: view left → top; draws 2 → 3"
    assert "\n" not in str(error.value)
    assert (tmp_path / "study.json").read_bytes() == before


def test_other_folders_are_not_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no study"):
        StudyFolder(tmp_path).settings()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="the folder is not empty"):
        StudyFolder(tmp_path).begin(StudySettings())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_seconds_are_kept_by_stage(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.add_seconds("lora-0", 12.345)
    folder.add_seconds("lora-0", 13.0)
    folder.add_seconds("idm-0", 1.0)
    assert folder.seconds() == [{"stage": "idm-0", "seconds": 1.0}, {"stage": "lora-0", "seconds": 13.0}]
