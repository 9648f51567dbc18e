import json
import re
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from safetensors.torch import load_file

from support.films import films, write_square_dataset
from support.processes import start, wait_until
from support.training import recipe_data, write_recipe
from worldtune.adapters.card import read_card
from worldtune.cli.main import INTERRUPTED, INTERRUPTION, run
from worldtune.training.recipe import load_recipe
from worldtune.training.run_folder import RunFolder

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The latent store is under the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def trained(tiny_world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe beside its videos, a home folder with their latents, and the finished run. Do not write into it."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        assert run(["train", str(write_recipe(folder, tiny_world)), "--out", str(folder / "run")]) == 0
    return folder


@pytest.fixture
def recipe(trained: Path, home: Path) -> Path:
    """A recipe whose clips are in the latent store."""
    shutil.copytree(trained / "home", home)
    return trained / "small.yaml"


@pytest.fixture
def finished(recipe: Path, trained: Path, tmp_path: Path) -> Path:
    """The same recipe; its finished run is in the folder `run`."""
    shutil.copytree(trained / "run", tmp_path / "run")
    return recipe


@pytest.fixture
def new_recipe(tiny_world: Path, tmp_path: Path) -> Path:
    """A recipe with its own videos, which are not in the store."""
    return write_recipe(tmp_path, tiny_world)


def test_run_writes_all_its_files(in_process: Verb, new_recipe: Path, tmp_path: Path, home: Path) -> None:
    done = in_process("train", new_recipe, "train.preview_every=3", "--out", "run")
    assert done.code == 0, done.err
    assert "6 clips to train on, 2 held out" in done.out
    assert re.search(r"held-out loss {2}\d\.\d{3} → \d\.\d{3}", done.out)
    assert "run/adapter" in done.out
    assert re.search(
        r"checked +\d+ base tensors loaded, 20 layers adapted, 40 tensors trained, first loss \d", done.out
    )
    weights = tmp_path / "run" / "adapter" / "pytorch_lora_weights.safetensors"
    assert weights.stat().st_mode == (tmp_path / "run" / "adapter" / "adapter.json").stat().st_mode
    found = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*")}
    assert {
        "recipe.yaml", "lineage.json", "metrics.jsonl", "timing.json", "loss.svg", "adapter/adapter.json",
        "adapter/pytorch_lora_weights.safetensors", "previews/step-000003.mp4", "previews/step-000006.mp4",
        "checkpoints/step-000004", "checkpoints/step-000006",
    } <= found  # fmt: skip
    assert (home / ".cache" / "worldtune" / "latents").is_dir()
    assert not list(tmp_path.rglob("*.partial"))


def test_run_folder_is_named_after_the_recipe(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    assert in_process("train", recipe, "name=mine").code == 0
    assert (tmp_path / "runs" / "mine" / "adapter").is_dir()


def last_step(run: RunFolder) -> int:
    """The step of the last whole line: a process may be writing the next one."""
    lines = run.metrics.read_bytes().split(b"\n")[:-1] if run.metrics.exists() else []
    return int(json.loads(lines[-1])["step"]) if lines else -1


def test_resume_after_kill_and_ctrl_c_gives_identical_files(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    arguments = ("train", recipe, "train.steps=120", "train.checkpoint_every=10", "validate.every=7", "--out")
    stopped, whole = RunFolder(tmp_path / "stopped"), RunFolder(tmp_path / "whole")

    process = start(*arguments, stopped.path)
    wait_until(lambda: last_step(stopped) >= 13, process)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not stopped.adapter.exists()
    killed_at, file = last_step(stopped), stopped.metrics.stat().st_ino

    process = start(*arguments, stopped.path, "--resume")
    wait_until(lambda: stopped.metrics.stat().st_ino != file and last_step(stopped) >= killed_at + 3, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == INTERRUPTED, err
    assert err.splitlines()[-1] == INTERRUPTION
    assert "Traceback" not in err
    assert not list(stopped.path.rglob("*.partial"))
    assert not stopped.adapter.exists()

    assert in_process(*arguments, stopped.path, "--resume").code == 0
    assert in_process(*arguments, whole.path).code == 0
    assert stopped.metrics.read_bytes() == whole.metrics.read_bytes()
    assert [row["step"] for row in whole.rows() if "loss" in row] == list(range(1, 121))
    names = sorted(path.name for path in whole.adapter.iterdir())
    assert sorted(path.name for path in stopped.adapter.iterdir()) == names
    for name in names:
        assert (stopped.adapter / name).read_bytes() == (whole.adapter / name).read_bytes()


def test_misspelled_override_suggests_the_closest(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    assert fault(in_process, "train", recipe, "train.stesp=5").endswith("Did you mean 'steps'?")
    assert not (tmp_path / "runs").exists()


def test_unknown_recipe_is_named(in_process: Verb) -> None:
    assert "Did you mean 'pocket-new-view'?" in fault(in_process, "train", "pocket-new-veiw")
    assert "no such recipe [nothing.yaml]" in fault(in_process, "train", "nothing.yaml")


def test_run_does_not_start_twice(in_process: Verb, finished: Path) -> None:
    assert "--resume" in fault(in_process, "train", finished, "--out", "run")
    assert "train.lr 0.01 → 0.02" in fault(in_process, "train", finished, "train.lr=0.02", "--out", "run", "--resume")


def test_resume_without_a_run_is_rejected(in_process: Verb, recipe: Path) -> None:
    assert "no run to resume" in fault(in_process, "train", recipe, "--out", "run", "--resume")


def contents(run: Path) -> dict[str, bytes]:
    """Return the metrics and the adapter, which do not depend on how often a run was stopped."""
    files = [run / "metrics.jsonl", *sorted((run / "adapter").iterdir())]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def test_resume_auto_starts_and_continues(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    command = ("train", recipe, "--out", "run", "--resume", "auto")
    assert in_process(*command).code == 0
    whole = contents(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "adapter")  # as if stopped before its last checkpoint
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000006")
    for _ in range(2):
        done = in_process(*command)
        assert done.code == 0, done.err
        assert contents(tmp_path / "run") == whole


def test_resume_states_its_step_and_rejects_changes_without_effect(
    in_process: Verb, recipe: Path, tmp_path: Path
) -> None:
    assert "continues after" not in in_process("train", recipe, "--out", "run").out
    written = (tmp_path / "run" / "recipe.yaml").read_bytes()
    assert "training is already complete after step 6" in in_process("train", recipe, "--out", "run", "--resume").out
    for change in ("train.lr=0.001", "train.steps=3"):
        line = fault(in_process, "train", recipe, change, "--out", "run", "--resume", "--allow-change")
        assert f"these changes would have no effect: {change.partition('=')[0]}" in line
        assert (tmp_path / "run" / "recipe.yaml").read_bytes() == written
    more = in_process("train", recipe, "train.steps=8", "--out", "run", "--resume", "--allow-change")
    assert "continues after step 6 of 8" in more.out


def test_early_stop_is_reported(in_process: Verb, recipe: Path) -> None:
    worse = ("train.lr=3", "train.warmup=0", "train.steps=30", "validate={every: 1, sigmas: 2, patience: 2}")
    done = in_process("train", recipe, *worse, "--out", "run")
    assert re.search(r"stopped after step \d+ of 30: 2 validations in a row did not improve", done.out)


def test_batch_too_small_for_a_cluster_is_rejected_before_launch(in_process: Verb, recipe: Path) -> None:
    line = fault(in_process, "train", recipe, "--launch", "slurm", "--nodes", 2, "--gpus", 8, "--render")
    assert "a batch of 3 leaves some of 16 replicas without a clip" in line


def test_xdg_cache_home_sets_the_store(
    in_process: Verb, new_recipe: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert in_process("encode", new_recipe).code == 0
    assert (tmp_path / "elsewhere" / "worldtune" / "latents").is_dir()
    assert not (home / ".cache" / "worldtune" / "latents").exists()


def test_recipe_change_needs_allow_change_and_is_in_the_lineage(
    in_process: Verb, finished: Path, tmp_path: Path
) -> None:
    command = ("train", finished, "--out", "run", "--resume", "train.steps=8", "train.lr=0.02")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    line = fault(in_process, *command)
    assert "train.steps 6 → 8; train.lr 0.01 → 0.02" in line
    assert "--allow-change" in line
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before

    started = json.loads((tmp_path / "run" / "lineage.json").read_text())
    done = in_process(*command, "--allow-change")
    assert done.code == 0, done.err
    rows = RunFolder(tmp_path / "run").rows()
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, 9))
    now = json.loads((tmp_path / "run" / "lineage.json").read_text())
    (resumed,) = now.pop("resumed_with")
    assert now == started
    assert resumed["recipe"] != started["recipe"]
    assert {part for part in resumed if resumed[part] != started[part]} == {"recipe"}
    assert read_card(tmp_path / "run" / "adapter").lineage["resumed_with"] == [resumed]
    assert load_recipe(tmp_path / "run" / "recipe.yaml", []).train.lr == 0.02
    assert in_process(*command).code == 0, "the change is part of the run now"


def test_dataset_change_needs_allow_change_and_is_in_the_lineage(
    in_process: Verb, new_recipe: Path, tmp_path: Path
) -> None:
    assert in_process("train", new_recipe, "--out", "run").code == 0
    write_square_dataset(tmp_path / "films", 8, background=(9, 99, 199))
    command = ("train", new_recipe, "train.steps=8", "--out", "run", "--resume", "--allow-change")
    assert in_process(*command).code == 0
    lineage = json.loads((tmp_path / "run" / "lineage.json").read_text())
    assert lineage["datasets"] != lineage["resumed_with"][0]["datasets"]
    assert in_process("train", new_recipe, "train.steps=8", "--out", "run", "--resume").code == 0


def test_run_does_not_continue_on_another_base(
    in_process: Verb, finished: Path, tmp_path: Path, tiny_world: Path
) -> None:
    other = shutil.copytree(tiny_world, tmp_path / "other")
    (weights,) = (other / "transformer").glob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-4] ^= 1  # the last bit of a weight
    weights.write_bytes(content)
    command = ("train", finished, f"base={other}", "--out", "run", "--resume", "--allow-change")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert "the base changed since the run was started" in fault(in_process, *command)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("change", ["adapter.rank=2", "train.optimizer=muon", "train.ema={decay: [0.9]}"])
def test_change_that_no_checkpoint_fits_leaves_the_run_unchanged(
    in_process: Verb, finished: Path, tmp_path: Path, change: str
) -> None:
    files = [tmp_path / "run" / name for name in ("recipe.yaml", "lineage.json", "metrics.jsonl")]
    before = [path.read_text() for path in files]
    fault(in_process, "train", finished, change, "train.steps=8", "--out", "run", "--resume", "--allow-change")
    assert [path.read_text() for path in files] == before


@pytest.mark.parametrize(
    "option",
    [
        ("--nodes", "2"),
        ("--gpus", "8"),
        ("--accelerator", "H100"),
        ("--image", "a/b:1"),
        ("--volume", "v"),
        ("--render",),
    ],
    ids=lambda option: option[0],
)
def test_launch_option_without_launch_is_rejected(
    in_process: Verb, recipe: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    line = fault(in_process, "train", recipe, "--out", "run", *option)
    assert f"this option needs --launch [{option[0]}]" in line
    assert "--launch slurm, skypilot or kubernetes" in line
    assert not (tmp_path / "run").exists()


def test_launch_needs_the_number_of_gpus(in_process: Verb, recipe: Path) -> None:
    line = fault(in_process, "train", recipe, "--launch", "slurm", "--nodes", 2)
    assert line.endswith("the number of GPUs per machine is missing [--launch slurm]. Add --gpus.")


def test_unwritable_run_folder_is_named(in_process: Verb, recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot create the folder" in fault(in_process, "train", recipe, "--out", "file/run")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.path=nowhere", "nowhere"),
        ("data.frames=13", "8 × shorter than the window"),
        ("data.frames=8", "frames must be 1 + 4n"),
        ("data.caption='{nothing}'", "unknown caption field"),
        ("data.caption={nothing", "not YAML"),
        ("data.cameras=[wrist]", "wrist"),
        (
            "data.caption='the robot arm {caption} as slowly, carefully and gently as it possibly can'",
            "the base reads 64",
        ),
        ("base=nowhere", "this is not a base model"),
        ("train.lr=1.0e-30", "never changed"),
        ("adapter.targets=[to_z]", "no linear layer ends in 'to_z'"),
        ("adapter.rank=0", "'adapter.rank' is 0"),
        ("train.ema={decay: [1.0]}", "decay between 0 and 1"),
        ("machine.shard_base=true", "shard_base must recompute every block"),
        ("machine.context_parallel=2", "machine.context_parallel is 2, but the run has 1 process"),
    ],
)
def test_untrainable_recipe_is_one_line(
    in_process: Verb, recipe: Path, tmp_path: Path, override: str, says: str
) -> None:
    assert says in fault(in_process, "train", recipe, override, "--out", "run")
    assert not (tmp_path / "run" / "adapter").exists()
    assert not list(tmp_path.rglob("*.partial"))


def test_same_command_works_after_the_error_is_fixed(in_process: Verb, recipe: Path) -> None:
    fault(in_process, "train", recipe, "data.path=nowhere", "--out", "run")
    done = in_process("train", recipe, "--out", "run")
    assert done.code == 0, done.err


def test_resume_rejects_changed_data(in_process: Verb, new_recipe: Path, tmp_path: Path, tiny_world: Path) -> None:
    assert in_process("train", new_recipe, "--out", "run").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    write_square_dataset(tmp_path / "films", 8, background=(9, 99, 199))
    assert "the datasets changed since" in fault(in_process, "train", new_recipe, "--out", "run", "--resume")
    after = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert after == before  # ledger and timing too: they are evidence for the existing adapter


def test_encode_fills_the_store_that_training_uses(in_process: Verb, new_recipe: Path, home: Path) -> None:
    done = in_process("encode", new_recipe)
    assert done.code == 0, done.err
    assert done.out.startswith("6 clips to train on, 2 held out\n")
    files = {path: path.stat().st_mtime_ns for path in home.rglob("*.safetensors")}
    assert sum(len(load_file(path)) for path in files) == 8 + 2 + 1  # clips, their two prompts, the empty prompt
    assert in_process("train", new_recipe).code == 0
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*.safetensors")} == files


def test_metrics_contain_no_times(in_process: Verb, finished: Path, tmp_path: Path) -> None:
    keys = {key for line in (tmp_path / "run" / "metrics.jsonl").open() for key in json.loads(line)}
    assert keys == {"step", "loss", "lr", "grad_norm", "held_out_loss", "held_out"}


def test_missing_held_out_clips_are_reported_before_training(in_process: Verb, recipe: Path) -> None:
    done = in_process("train", recipe, "data.held_out=0", "--out", "run")
    assert done.code == 0, done.err
    assert done.err.splitlines()[1].startswith("warning: no clips are held out")
    assert "next: worldtune evaluate" not in done.out
    done = in_process("train", recipe, "--out", "other")
    assert "no clips are held out" not in done.err
    assert done.out.endswith("next: worldtune evaluate other --gates default\n")


def test_all_too_long_captions_are_named_before_encoding(in_process: Verb, new_recipe: Path, home: Path) -> None:
    """In every second of the eight videos the square goes down, which takes many more tokens."""
    long = "data.caption='the robot arm {caption} as slowly, carefully and gently as it possibly can'"
    for verb in ("encode", "train"):
        line = fault(in_process, verb, new_recipe, long)
        assert re.search(r"8 captions are too long: .*000000.*: \d+ tokens; the base reads 64 tokens \[", line), line
        assert all(f"00000{number}" in line for number in range(8))
    assert not list(home.rglob("*.safetensors"))
    report = json.loads(in_process("check", new_recipe, long, "--json").out)[0]
    assert report["usable"] is False
    assert sorted(report["base"]["too_long"]) == [f"00000{number}" for number in range(8)]
    assert report["base"]["length"] == 64


def write_demos(path: Path, background: tuple[int, int, int]) -> str:
    """Write an HDF5 file in robomimic's layout without a frame rate, as Isaac Lab does."""
    with h5py.File(path, "w") as file:
        for number, (frames_THWC, task) in enumerate(films(4, background)):
            demo = file.create_group(f"data/demo_{number}")
            demo.attrs["language_instruction"] = task
            demo["obs/agentview_image"] = frames_THWC
            demo["actions"] = np.zeros((len(frames_THWC), 2), np.float32)
    return str(path)


def test_recorded_fps_of_every_dataset_applies_in_every_verb(
    in_process: Verb, tiny_world: Path, tmp_path: Path
) -> None:
    names = ("data", "mix", "replay", "retention")
    backgrounds = [(40, 90, 150), (150, 140, 60), (20, 200, 90), (200, 30, 120)]
    specs = {
        name: {"path": write_demos(tmp_path / f"{name}.hdf5", background), "recorded_fps": 16,
               "frames": 9, "fps": 16, "height": 32, "width": 32}
        for name, background in zip(names, backgrounds, strict=True)
    }  # fmt: skip
    value = recipe_data(tiny_world, tmp_path / "data.hdf5", steps=1, batch=1)
    value |= {
        "data": specs["data"] | {"held_out": 0.5},
        "mix": {"more": {"share": 0.2, "data": specs["mix"]}},
        "replay": {"share": 0.2, "data": specs["replay"]},
        "validate": {"every": 1, "sigmas": 1, "retention": specs["retention"]},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(value))
    for verb in (
        ["check"],
        ["encode"],
        ["train", "--out", "run"],
        ["train", "--out", "grid", "--grid", "adapter.rank=2"],
    ):
        done = in_process(verb[0], "r.yaml", *verb[1:])
        assert done.code == 0, (verb, done.out, done.err)
    for name in ("data", "mix.more.data", "replay.data", "validate.retention"):
        line = fault(in_process, "train", "r.yaml", f"{name}.recorded_fps=null", "--out", "other")
        assert "does not state its frame rate" in line, name
