"""Train and generate on the pocket world with a real robot dataset."""

import json
from pathlib import Path

import pytest

from worldtune.cli.main import run


@pytest.mark.slow
def test_gr1_trains_and_its_held_out_loss_falls_by_half(
    real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "gr1"
    overrides = [
        f"data.path={real_data / 'gr1_picknplace'}",
        "data.cameras=[observation.images.ego_view]",
        "data.held_out=0.2",
        "replay=null",
        "validate={every: 50}",
        "train.steps=50",
        "train.checkpoint_every=50",
    ]
    assert run(["train", "pocket-new-view", *overrides, "--out", str(folder)]) == 0
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    losses = [row["held_out_loss"] for row in rows if "held_out_loss" in row]
    assert losses[-1] < 0.5 * losses[0]

    video = real_data / "gr1_picknplace/videos/chunk-000/observation.images.ego_view/episode_000000.mp4"
    request = ["--input", str(video), "--prompt", "pick the pear from the counter and place it in the plate"]
    out = tmp_path / "videos"
    assert run(["generate", *request, "--adapter", str(folder / "adapter"), "--steps", "4", "-o", str(out)]) == 0
    manifest = json.loads((out / "video.json").read_text())
    assert manifest["adapters"][0]["folder"] == str(folder / "adapter")
    assert (out / "video.mp4").stat().st_size > 1000
