"""Datasets of the Hugging Face Hub, read through the command line from a local Hub."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import CommandLine
from worldtune.data.dataset import build_dataset
from worldtune.data.spec import DataSpec

from ...cli.in_process import Done, Verb, in_process
from ..hub import Hub, files_in, serving
from ..videos import cosmos_folder, write_v2

__all__ = ["in_process"]

LEFT, RIGHT = (f"videos/chunk-000/{side}/episode_00000{{}}.mp4" for side in ("left", "right"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve someone/films: two episodes of two cameras, and three at the revision v1."""
    films = write_v2(tmp_path / "films", (22, 24), ("left", "right"))
    more = write_v2(tmp_path / "more", (22, 24, 23), ("left", "right"))
    with serving(Hub("someone/films", {"main": films, "v1": more})) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with imported_anew("huggingface_hub"):
            yield hub


@contextmanager
def imported_anew(library: str) -> Iterator[None]:
    """Import the library anew within the block, so that it reads the current environment."""

    def parts() -> list[str]:
        return [name for name in sys.modules if name.split(".")[0] == library]

    before = {name: sys.modules.pop(name) for name in parts()}
    logger = logging.getLogger(library)
    handlers, logger.handlers = logger.handlers, []  # each import adds a handler on its test's stderr
    try:
        yield
    finally:
        for name in parts():
            del sys.modules[name]
        sys.modules.update(before)
        logger.handlers = handlers


def checked(in_process: Verb, *arguments: str | Path) -> dict[str, Any]:
    done = in_process("check", *arguments, "--json")
    assert done.code == 0, done.out + done.err
    (found,) = json.loads(done.out)
    return found


def digest(folder: Path, *cameras: str) -> str:
    """Return the digest of the same dataset in a folder."""
    size = {"frames": 21, "fps": 16, "height": 64, "width": 64, "max_skipped": 1, "cameras": cameras or None}
    return build_dataset(DataSpec.model_validate({"path": str(folder)} | size)).digest


def refusal(done: Done) -> str:
    """Return the one-line error message."""
    assert done.code == 2, done.out + done.err
    assert not done.out
    assert "Traceback" not in done.err
    *_, line = done.err.splitlines()
    assert re.match(r"error: .+[^.] \[.+\]\. .+\.$", line), line
    return line


def test_only_requested_camera_files_are_fetched_once(in_process: Verb, hub: Hub, tmp_path: Path) -> None:
    found = checked(in_process, "hf:someone/films", "--camera", "left")
    assert sorted(hub.fetched) == [name for name in files_in(tmp_path / "films") if "/right/" not in name]
    hub.fetched.clear()
    assert checked(in_process, "hf:someone/films", "--camera", "left") == found
    assert hub.fetched == []
    assert (found["train"], found["problems"]) == (2, [])
    checked(in_process, "hf:someone/films")
    assert hub.fetched == [RIGHT.format(0), RIGHT.format(1)]


def test_revision_is_read_by_name_or_commit(in_process: Verb, hub: Hub) -> None:
    for revision in ("v1", hub.commit("v1")):
        assert checked(in_process, f"hf:someone/films@{revision}")["train"] == 6
    assert checked(in_process, "hf:someone/films")["train"] == 4


def test_every_file_of_a_video_folder_is_fetched(in_process: Verb, hub: Hub, tmp_path: Path) -> None:
    hub.revisions = {"main": cosmos_folder(tmp_path / "cosmos", {"push": 22, "lift": 23})}
    assert checked(in_process, "hf:someone/films")["train"] == 2
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
def test_missing_hub_repository_is_a_one_line_error(in_process: Verb, hub: Hub, path: str, reason: str) -> None:
    line = refusal(in_process("check", path))
    assert reason in line
    assert f"[{path}]" in line
    assert ("hf:someone/films" in line) == ("films" in path)
    assert hub.fetched == []


@pytest.mark.parametrize("name", ["meta/info.json", "data/chunk-000/episode_000001.parquet", LEFT.format(1)])
def test_failed_download_is_an_error_not_a_skipped_recording(
    in_process: Verb, hub: Hub, tmp_path: Path, name: str
) -> None:
    hub.broken = {name}
    assert "503 Service Unavailable" in refusal(in_process("check", "hf:someone/films", "--max-skipped", "1"))
    hub.mended, hub.fetched = {name}, []
    found = checked(in_process, "hf:someone/films", "--max-skipped", "1")
    assert found["digest"] == digest(tmp_path / "films")
    assert name in hub.fetched
    assert "meta/tasks.jsonl" not in hub.fetched or name == "meta/info.json"


def test_interrupted_download_is_resumed(in_process: Verb, hub: Hub, tmp_path: Path) -> None:
    hub.broken = hub.mended = {LEFT.format(0)}
    found = checked(in_process, "hf:someone/films", "--camera", "left", "--max-skipped", "1")
    assert hub.fetched.count(LEFT.format(0)) == 2
    assert found["digest"] == digest(tmp_path / "films", "left")


def test_video_missing_in_the_repository_is_skipped(in_process: Verb, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "films" / LEFT.format(1)).unlink()
    (skipped,) = [
        row
        for row in checked(in_process, "hf:someone/films", "--max-skipped", "1")["not_used"]
        if "left over" not in row["reason"]
    ]
    assert (skipped["episode"], skipped["camera"], skipped["reason"]) == (
        "000001",
        "left",
        f"the video file is missing ({LEFT.format(1)})",
    )


def test_incomplete_download_is_an_error(in_process: Verb, hub: Hub) -> None:
    from huggingface_hub import hf_hub_download

    (hub.revisions["main"] / "README").write_text("films")
    hf_hub_download("someone/films", "README", repo_type="dataset")
    hub.listing = False
    assert "meta/episodes.jsonl was not downloaded" in refusal(in_process("check", "hf:someone/films"))


def test_unreachable_hub_is_a_one_line_error(worldtune: CommandLine, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs in its own process."""
    with serving(Hub("someone/films", {})) as missing:
        monkeypatch.setenv("HF_ENDPOINT", missing.address)
    done = worldtune("check", "hf:someone/films")
    assert "Connection refused" in refusal(Done(done.returncode, done.stdout, done.stderr))
