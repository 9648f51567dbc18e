import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from worldtune.data.clip import read_clip
from worldtune.data.dataset import open_dataset
from worldtune.data.spec import DataSpec
from worldtune.models.load import open_world

from ..data.videos import cosmos_folder, truncate, write_packed_v3, write_v2
from .in_process import Verb, in_process

__all__ = ["in_process"]

STEMS = ["a", "b", "c", "d"]


def test_good_data_passes_and_writes_the_ledger(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", dict.fromkeys(STEMS, 25))
    done = in_process("check", "d", "--ledger", "ledger.parquet")
    assert done.code == 0, done.out + done.err
    assert "4 clips for training" in done.out
    assert done.out.splitlines()[-1] == "usable"
    assert pq.read_table(tmp_path / "ledger.parquet").num_rows == 8


def test_lost_recordings_exit_with_2_unless_allowed(in_process: Verb, tmp_path: Path) -> None:
    root = cosmos_folder(tmp_path / "d", dict.fromkeys(STEMS, 21))
    truncate(root / "videos/b.mp4")
    done = in_process("check", "d")
    text = " ".join(done.out.split())
    assert done.code == 2
    assert "1 of 4 recordings give no clip (25%; the limit is 5%)" in text
    assert "1 the video is cut short b" in text
    assert in_process("check", "d", "--max-skipped", "0.25").code == 0


def test_no_usable_clip_exits_with_2_and_reasons(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", {"a": 21})
    done = in_process("check", "d", "--frames", "22", "--max-skipped", "1", "--json")
    (report,) = json.loads(done.out)
    assert done.code == 2
    hint = "Not used: 1 × shorter than the window (21 of 22 frames). Lower data.frames."
    assert report["faults"] == [{"message": "no clip can be used", "hint": hint, "where": ""}]
    assert not report["usable"]
    assert [row["reason"] for row in report["not_used"]] == ["shorter than the window (21 of 22 frames)"]


def test_contradictions_of_a_used_camera_exit_with_2(in_process: Verb, tmp_path: Path) -> None:
    layout = {"front": [[0, 1]], "wrist": [[0], [1]]}
    write_packed_v3(tmp_path / "d", (22, 24), layout, shift=-0.25)
    done = in_process("check", "d", "--max-skipped", "1")
    assert done.code == 2
    assert "episode 000001: front: begins at frame 18" in " ".join(done.out.split())
    done = in_process("check", "d", "--camera", "wrist")
    assert done.code == 0, done.out


def test_recipe_sets_its_own_data(in_process: Verb, tmp_path: Path) -> None:
    write_v2(tmp_path / "d", (9, 9))
    data = {"path": "d", "frames": 9, "fps": 16, "height": 32, "width": 32, "held_out": 0.5}
    recipe = {"name": "r", "base": "pocket", "data": data, "adapter": {}, "train": {}}
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    done = in_process("check", "r.yaml", "--json")
    assert done.code == 0, done.err
    (report,) = json.loads(done.out)
    assert (report["train"], report["held_out"], report["data"]["height"]) == (1, 1, 32)
    done = in_process("check", "r.yaml", "--frames", "8")
    assert (done.code, done.err.startswith("error: --frames does not apply to a recipe")) == (2, True)


def test_real_dataset_passes_with_its_existing_camera(in_process: Verb, real_data: Path) -> None:
    done = in_process("check", real_data / "gr1_picknplace")
    assert done.code == 2
    text = " ".join(done.out.split())
    assert "5 of 10 recordings give no clip (50%; the limit is 5%): 000000/observation.images.egoview" in text
    done = in_process("check", real_data / "gr1_picknplace", "--camera", "observation.images.ego_view")
    assert done.code == 0
    assert "76 clips for training" in done.out
    assert "action outlier" not in done.out  # an arm that rests in all clips but one is no outlier
    assert "Problems (6)" in done.out


def test_clip_size_that_the_base_cannot_make_is_rejected(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", dict.fromkeys(STEMS, 25))
    for setting in ("frames=20", "height=60"):
        sizes = [f"{name}.{setting}" for name in ("data", "replay.data", "validate.retention")]
        done = in_process("check", "pocket-new-view", "data.path=d", *sizes)
        assert (done.code, done.out) == (2, "")
        assert "frames must be 1 + 4n, height and width multiples of 16 [data]" in done.err


def test_stretched_images_are_reported(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", dict.fromkeys(STEMS, 21))
    assert "stretched out of shape from 64×64" in in_process("check", "d", "--width", "128").out
    assert "stretched" not in in_process("check", "d", "--width", "65").out


def test_every_dataset_of_a_recipe_is_named(in_process: Verb) -> None:
    out = in_process("check", "pocket-new-view").out
    assert "data: builtin:pocket-new-view" in out
    assert "clips to measure forgetting" in out


def test_check_does_not_import_torch() -> None:
    code = "import sys; from worldtune.cli.main import run; run(['check', 'nothing']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "the data folder does not exist [nothing]" in done.stderr


def test_caption_template_works_without_a_recipe(in_process: Verb, tmp_path: Path) -> None:
    cosmos_folder(tmp_path / "d", dict.fromkeys(STEMS, 21))
    assert in_process("check", "d", "--caption", "In the lab, {caption}").code == 0
    done = in_process("check", "d", "--caption", "{task}", "--json")
    (report,) = json.loads(done.out)
    assert {row["reason"] for row in report["not_used"]} == {"caption missing ({task} is empty)"}
    out = in_process("inspect", "d", "--caption", "In the lab, {caption}").out
    assert "Caption of the first clip: In the lab, the robot does a" in " ".join(out.split())
    done = in_process("check", "pocket-new-view", "--caption", "{task}")
    assert (done.code, done.err.startswith("error: --caption does not apply to a recipe")) == (2, True)


def test_codec_psnr_is_reported_if_the_base_is_present(in_process: Verb, tiny_world: Path) -> None:
    """The PSNR is that of the clip's first frames after encode and decode. A base that is not here gives none."""
    frames = ("data", "replay.data", "validate.retention")
    small = [f"{name}.{key}" for name in frames for key in ("frames=5", "height=32", "width=32")]
    done = in_process("check", "pocket-new-view", f"base={tiny_world}", *small, "--json")
    reports = {report["name"]: report for report in json.loads(done.out)}
    clip = open_dataset(DataSpec(**reports["data"]["data"])).train[0]
    world = open_world(str(tiny_world))
    frames_THWC = read_clip(clip)
    again_THWC = world.decode(world.encode(torch.from_numpy(frames_THWC)[None]))[0].numpy()
    mse = np.mean((again_THWC.astype(float) - frames_THWC) ** 2)
    assert reports["data"]["base"]["codec_psnr_db"] == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-6)
    own = reports["retention"]["base"]["codec_psnr_db"]
    text = " ".join(in_process("check", "pocket-new-view", f"base={tiny_world}", *small).out.split())
    measured = reports["data"]["base"]["codec_psnr_db"]
    loss = f"After a round trip through the base's codec, a clip has a PSNR of {measured:.1f} dB"
    assert f"{loss} (a clip of the base's own domain: {own:.1f} dB)." in text
    away = in_process("check", "pocket-new-view", "base=predict2.5-2b/post-trained", "--json")
    assert [report["base"] for report in json.loads(away.out)] == [None, None, None]
