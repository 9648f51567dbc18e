"""Ctrl-C in long verbs: one line, exit code 130, nothing half-written."""

import shutil
import signal
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from support.films import write_square_dataset
from support.processes import start, wait_until
from support.training import write_recipe
from support.warm import WarmProcess
from worldtune.cli.main import INTERRUPTED, INTERRUPTION, run
from worldtune.training.recipe import find_recipe
from worldtune.training.run_folder import RunFolder

from ..data.videos import cosmos_folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The latent store is under the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def interrupt(process: WarmProcess) -> None:
    """Send Ctrl-C, and check what every verb must do then."""
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == INTERRUPTED, err
    assert err.splitlines()[-1] == INTERRUPTION
    assert "Traceback" not in err


@pytest.mark.parametrize("verb", ["inspect", "check"])
def test_interrupted_decoding_leaves_the_dataset_unchanged(verb: str, tmp_path: Path, home: Path) -> None:
    cosmos_folder(tmp_path / "many", {"0000": 60})
    for part, kind in (("videos", "mp4"), ("metas", "txt")):
        for number in range(1, 400):
            shutil.copy(tmp_path / "many" / part / f"0000.{kind}", tmp_path / "many" / part / f"{number:04d}.{kind}")
    process = start(verb, tmp_path / "many")
    wait_until(lambda: any(home.rglob("file_cache.sqlite")), process)  # the first video has been read
    interrupt(process)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "many"]


def test_interrupted_encode_keeps_complete_latents_and_resumes(tiny_world: Path, tmp_path: Path, home: Path) -> None:
    recipe = write_recipe(tmp_path, tiny_world)
    write_square_dataset(tmp_path / "many", 200)
    many = (f"data.path={tmp_path / 'many'}", "data.held_out=0")
    process = start("encode", recipe, *many)
    wait_until(lambda: any(home.rglob("*.safetensors")), process)
    interrupt(process)
    assert not list(home.rglob("*.partial"))
    kept = sum(len(load_file(path)) for path in home.rglob("*.safetensors"))
    assert 0 < kept < 200
    assert run(["encode", str(recipe), *many]) == 0
    there = sum(len(load_file(path)) for path in home.rglob("*.safetensors"))
    assert there == 200 + 2 + 1  # two prompts and the empty prompt


def test_interrupted_evaluate_leaves_no_report(tiny_world: Path, tmp_path: Path, home: Path) -> None:
    assert run(["train", str(write_recipe(tmp_path, tiny_world)), "--out", str(tmp_path / "run")]) == 0
    before = sorted((tmp_path / "run").rglob("*"))
    shutil.rmtree(home)
    process = start("evaluate", tmp_path / "run", "--steps", 5_000)
    wait_until(lambda: any(home.rglob("*.safetensors")), process)
    time.sleep(0.5)  # now it generates
    interrupt(process)
    assert sorted((tmp_path / "run").rglob("*")) == before


@pytest.mark.slow
def test_interrupted_demo_leaves_no_results_and_can_start_again(tmp_path: Path) -> None:
    process = start("demo", "--out", tmp_path / "demo")
    lora = RunFolder(tmp_path / "demo" / "lora")
    wait_until(lambda: any(row["step"] >= 2 for row in lora.rows()), process)
    interrupt(process)
    assert not lora.adapter.exists()
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["lora"]
    assert not list(tmp_path.rglob("*.partial"))
    lora.clear(find_recipe("pocket-new-view", ["name=demo-lora"]))
    assert not lora.path.exists()
