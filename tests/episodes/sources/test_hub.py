"""Datasets of the Hugging Face Hub, through the command line, from a Hub on this machine."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import CommandLine
from worldtune.episodes.dataset import take_stock
from worldtune.episodes.spec import DataSpec

from ..films import cosmos_folder, write_v2
from ..hub import Hub, files_in, serving

LEFT, RIGHT = (f"videos/chunk-000/{side}/episode_00000{{}}.mp4" for side in ("left", "right"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """someone/films: two episodes by two cameras; at the revision v1 a third one."""
    films = write_v2(tmp_path / "films", (22, 24), ("left", "right"))
    more = write_v2(tmp_path / "more", (22, 24, 23), ("left", "right"))
    with serving(Hub("someone/films", {"main": films, "v1": more})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub


def checked(worldtune: CommandLine, *arguments: str | Path) -> dict[str, Any]:
    done = worldtune("check", *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = json.loads(done.stdout)
    return found


def digest(folder: Path, *cameras: str) -> str:
    """That of the same dataset in a folder."""
    size = {"frames": 21, "fps": 16, "height": 64, "width": 64, "max_loss": 1, "cameras": cameras or None}
    return take_stock(DataSpec.model_validate({"path": str(folder)} | size)).digest


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of what the user can mend."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert not done.stdout
    assert "Traceback" not in done.stderr
    *_, line = done.stderr.splitlines()
    assert re.match(r"error: .+[^.] \[.+\]\. .+\.$", line), line
    return line


def test_only_the_files_of_the_camera_asked_for_are_fetched_and_once(
    worldtune: CommandLine, hub: Hub, tmp_path: Path
) -> None:
    found = checked(worldtune, "hf:someone/films", "--camera", "left")
    assert sorted(hub.fetched) == [name for name in files_in(tmp_path / "films") if "/right/" not in name]
    hub.fetched.clear()
    assert checked(worldtune, "hf:someone/films", "--camera", "left") == found
    assert hub.fetched == []
    assert (found["train"], found["problems"]) == (2, [])
    checked(worldtune, "hf:someone/films")
    assert hub.fetched == [RIGHT.format(0), RIGHT.format(1)]


def test_a_revision_is_read_by_its_name_or_its_commit(worldtune: CommandLine, hub: Hub) -> None:
    for revision in ("v1", hub.commit("v1")):
        assert checked(worldtune, f"hf:someone/films@{revision}")["train"] == 6
    assert checked(worldtune, "hf:someone/films")["train"] == 4


def test_of_a_folder_of_films_every_file_is_fetched(worldtune: CommandLine, hub: Hub, tmp_path: Path) -> None:
    hub.revisions = {"main": cosmos_folder(tmp_path / "cosmos", {"push": 22, "lift": 23})}
    assert checked(worldtune, "hf:someone/films")["train"] == 2
    assert sorted(hub.fetched) == files_in(tmp_path / "cosmos")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("hf:someone/nothing", "Repository Not Found"),
        ("hf:someone/films@v9", "Revision Not Found"),
        ("hf:someone/fi lms", "Repo id must use alphanumeric chars"),
        ("hf:someone", "not a dataset repository"),
        ("someone/films", "the data folder does not exist"),
    ],
)
def test_what_the_hub_does_not_have_is_said_in_one_line(
    worldtune: CommandLine, hub: Hub, path: str, reason: str
) -> None:
    line = refusal(worldtune("check", path))
    assert reason in line
    assert f"[{path}]" in line
    assert ("hf:someone/films" in line) == ("films" in path)
    assert hub.fetched == []


@pytest.mark.parametrize("name", ["meta/info.json", "data/chunk-000/episode_000001.parquet", LEFT.format(1)])
def test_a_file_that_breaks_off_is_no_lost_recording_but_stops_the_work(
    worldtune: CommandLine, hub: Hub, tmp_path: Path, name: str
) -> None:
    hub.broken = {name}
    assert "503 Service Unavailable" in refusal(worldtune("check", "hf:someone/films", "--max-loss", "1"))
    hub.mended, hub.fetched = {name}, []
    found = checked(worldtune, "hf:someone/films", "--max-loss", "1")
    assert found["digest"] == digest(tmp_path / "films")
    assert name in hub.fetched
    assert "meta/tasks.jsonl" not in hub.fetched or name == "meta/info.json"


def test_a_download_that_breaks_off_goes_on_where_it_was(worldtune: CommandLine, hub: Hub, tmp_path: Path) -> None:
    hub.broken = hub.mended = {LEFT.format(0)}
    found = checked(worldtune, "hf:someone/films", "--camera", "left", "--max-loss", "1")
    assert hub.fetched.count(LEFT.format(0)) == 2
    assert found["digest"] == digest(tmp_path / "films", "left")


def test_a_video_that_the_repository_lacks_is_a_lost_recording(
    worldtune: CommandLine, hub: Hub, tmp_path: Path
) -> None:
    (tmp_path / "films" / LEFT.format(1)).unlink()
    (lost,) = [
        row
        for row in checked(worldtune, "hf:someone/films", "--max-loss", "1")["not_used"]
        if "left over" not in row["reason"]
    ]
    assert (lost["episode"], lost["camera"], lost["reason"]) == ("000001", "left", "the video file is missing")


def test_a_copy_that_is_not_finished_is_not_taken_for_the_whole(worldtune: CommandLine, hub: Hub) -> None:
    fetch = "import huggingface_hub; huggingface_hub.hf_hub_download('someone/films', 'README', repo_type='dataset')"
    (hub.revisions["main"] / "README").write_text("films")
    subprocess.run([sys.executable, "-c", fetch], check=True, capture_output=True)
    hub.listing = False
    assert re.search(r"meta/\w+\.json\w? did not come", refusal(worldtune("check", "hf:someone/films")))


def test_a_hub_that_cannot_be_reached_is_said_in_one_line(
    worldtune: CommandLine, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Hub("someone/films", {})) as gone:
        monkeypatch.setenv("HF_ENDPOINT", gone.address)
    assert "Connection refused" in refusal(worldtune("check", "hf:someone/films"))
