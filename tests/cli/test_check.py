import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from ..episodes.films import cosmos_folder, truncate, write_packed_v3, write_v2
from .in_process import Verb, in_process

__all__ = ["in_process"]

STEMS = ["a", "b", "c", "d"]


def test_good_data_pass_and_the_ledger_is_written(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", dict.fromkeys(STEMS, 25))
    done = in_process("check", "d", "--ledger", "ledger.parquet")
    assert done.code == 0, done.out + done.err
    assert "4 clips for training" in done.out
    assert done.out.splitlines()[-1] == "usable"
    assert pq.read_table(tmp_path / "ledger.parquet").num_rows == 8


def test_too_much_lost_is_2_and_a_larger_allowance_is_0(in_process: Verb, tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", dict.fromkeys(STEMS, 21))
    truncate(root / "videos/b.mp4")
    done = in_process("check", "d")
    text = " ".join(done.out.split())
    assert done.code == 2
    assert "1 of 4 recordings give no clip (25%, allowed are 5%)" in text
    assert "1 the video is cut short b" in text
    assert in_process("check", "d", "--max-loss", "0.25").code == 0


def test_nothing_left_is_2_with_reasons(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 21})
    done = in_process("check", "d", "--frames", "22", "--max-loss", "1", "--json")
    (report,) = json.loads(done.out)
    assert done.code == 2
    assert (report["usable"], report["faults"]) == (False, ["no clip can be used"])
    assert [row["reason"] for row in report["not_used"]] == ["shorter than the window (21 of 22 frames)"]


def test_contradictions_of_a_used_camera_are_2(in_process: Verb, tmp_path: Path) -> None:
    layout = {"front": [[0, 1]], "wrist": [[0], [1]]}
    write_packed_v3(tmp_path / "d", (22, 24), layout, shift=-0.25)
    done = in_process("check", "d", "--max-loss", "1")
    assert done.code == 2
    assert "episode 000001: front: begins at frame 18" in " ".join(done.out.split())
    done = in_process("check", "d", "--camera", "wrist")
    assert done.code == 0, done.out


def test_a_recipe_brings_its_own_data(in_process: Verb, tmp_path: Path) -> None:
    write_v2(tmp_path / "d", (9, 9))
    data = {"path": "d", "frames": 9, "fps": 16, "height": 32, "width": 32, "held_out": 0.5}
    recipe = {"name": "r", "base": "pocket", "data": data, "adapter": {}, "train": {}}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    done = in_process("check", "r.yaml", "--json")
    assert done.code == 0, done.err
    (report,) = json.loads(done.out)
    assert (report["train"], report["held_out"], report["data"]["height"]) == (1, 1, 32)
    done = in_process("check", "r.yaml", "--frames", "8")
    assert (done.code, done.err.startswith("error: --frames does not go with a recipe")) == (2, True)


def test_the_real_dataset_passes_with_the_camera_it_has(in_process: Verb, real_data: Path) -> None:
    done = in_process("check", real_data / "gr1_picknplace")
    assert done.code == 2
    text = " ".join(done.out.split())
    assert "5 of 10 recordings give no clip (50%, allowed are 5%): 000000/observation.images.egoview" in text
    done = in_process("check", real_data / "gr1_picknplace", "--camera", "observation.images.ego_view")
    assert done.code == 0
    assert "75 clips for training" in done.out
    assert "action outlier" in done.out  # the arm that rests in all other clips comes down at the start of one
    assert "Problems (5)" in done.out


def test_clips_that_the_base_cannot_make_are_refused(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", dict.fromkeys(STEMS, 25))
    for setting in ("frames=20", "height=60"):
        sizes = [f"{name}.{setting}" for name in ("data", "replay.data", "validate.forgetting")]
        done = in_process("check", "pocket-new-view", "data.path=d", *sizes)
        assert (done.code, done.out) == (2, "")
        assert "frames must be 1 + 4n, height and width multiples of 16 [data]" in done.err


def test_pictures_out_of_their_shape_are_said(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", dict.fromkeys(STEMS, 21))
    assert "stretched from 64×64 out of its shape" in in_process("check", "d", "--width", "128").out
    assert "stretched" not in in_process("check", "d", "--width", "65").out


def test_every_dataset_of_a_recipe_has_its_name(in_process: Verb) -> None:
    said = in_process("check", "pocket-new-view").out
    assert "data: builtin:pocket-new-view" in said
    assert "clips to measure forgetting" in said


def test_it_answers_without_waiting_for_torch() -> None:
    code = "import sys; from worldtune.cli.main import run; run(['check', 'nothing']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "the data folder does not exist [nothing]" in done.stderr
