"""Metrics with weights: tiny models of the real classes, and formulas against plain ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import nn
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    Dinov2Config,
    Dinov2Model,
    VideoMAEConfig,
    VideoMAEModel,
)

from worldtune.errors import UserError
from worldtune.evaluation.case import held
from worldtune.evaluation.learned.frechet import LEAST, frechet, measure
from worldtune.evaluation.learned.lpips import SCALE, SHIFT, Lpips
from worldtune.evaluation.learned.run import Learned, absent
from worldtune.evaluation.learned.scorers import consistency, names_without
from worldtune.evaluation.learned.weights import Seer, read_weights
from worldtune.evaluation.scoring import Shot

from .clips import cases, film, moving_square

TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
READY = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}


def saved(folder: Path, model: nn.Module, size: dict[str, int]) -> Path:
    model.save_pretrained(folder)  # type: ignore[operator]
    (folder / "preprocessor_config.json").write_text(json.dumps({**READY, "size": size}))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    clip = CLIPConfig(
        text_config=CLIPTextConfig(**TINY, vocab_size=40).to_dict(),
        vision_config=CLIPVisionConfig(**TINY, image_size=32, patch_size=8).to_dict(),
        projection_dim=8,
    )
    video = VideoMAEConfig(**TINY, image_size=32, patch_size=8, num_frames=4, tubelet_size=2)
    dino = Dinov2Config(**{k: v for k, v in TINY.items() if k != "intermediate_size"}, image_size=28, patch_size=14)
    found = {
        "dino": saved(folder / "dino", Dinov2Model(dino), {"shortest_edge": 28}),
        "clip": saved(folder / "clip", CLIPModel(clip), {"height": 32, "width": 32}),
        "videomae": saved(folder / "videomae", VideoMAEModel(video), {"shortest_edge": 32}),
        "lpips": folder / "lpips",
    }
    found["lpips"].mkdir()
    torch.save(alexnet().state_dict(), found["lpips"] / "alexnet.pth")
    linear = {f"lin{place}.model.1.weight": torch.rand(1, C, 1, 1) for place, C in enumerate((64, 192, 384, 256, 256))}
    torch.save(linear, found["lpips"] / "alex.pth", _use_new_zipfile_serialization=False)  # as the published file is
    return found


class AlexNet(nn.Module):
    """Its convolutions, by torchvision's numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )  # fmt: skip


def alexnet() -> AlexNet:
    return AlexNet()


def shot(lag: float, noise: float = 0) -> Shot:
    return Shot(cases(1)[0], "LoRA", 0, film(moving_square(0, lag=lag, noise=noise)), film(moving_square(0)), None)


def test_each_kind_gives_its_metrics(models: dict[str, Path]) -> None:
    learned = Learned(read_weights([f"{kind}={path}" for kind, path in models.items()]), "cpu")
    names = {name for scorer in learned.scorers for name in scorer.names}
    assert names == {"lpips", "dino_similarity", "subject_consistency", "background_consistency"}
    for scorer in learned.scorers:
        same, far = scorer.score(shot(0)).values, scorer.score(shot(0.8, noise=20)).values
        assert set(same) == set(scorer.names)
        assert all(value is not None and np.isfinite(value) for value in far.values())
        if "lpips" in same:
            assert same["lpips"] == 0
            assert far["lpips"] is not None
            assert far["lpips"] > 0
        if "dino_similarity" in same:
            assert same["dino_similarity"] == pytest.approx(1)
            assert far["dino_similarity"] is not None
            assert far["dino_similarity"] < 1
    assert len({scorer.digest for scorer in learned.scorers}) == 3
    assert names_without(list(models)) == {}
    assert absent(list(models)) == {}


def test_lpips_is_the_weighted_distance_of_alexnets_features(models: dict[str, Path]) -> None:
    one, other = moving_square(0), moving_square(0, lag=0.5, noise=9)
    (found, *_) = Lpips(read_weights([f"lpips={models['lpips']}"])["lpips"], "cpu").distance(one[5:6], other[5:6])
    net = alexnet()
    net.load_state_dict(torch.load(models["lpips"] / "alexnet.pth", weights_only=True))
    linear = torch.load(models["lpips"] / "alex.pth", weights_only=True)
    total = 0.0
    x, y = (torch.from_numpy(each[5].astype(np.float32)).permute(2, 0, 1)[None] / 127.5 - 1 for each in (one, other))
    shift, scale = (torch.tensor(each).view(1, 3, 1, 1) for each in (SHIFT, SCALE))
    x, y = (x - shift) / scale, (y - shift) / scale
    place = 0
    with torch.no_grad():
        for layer in net.features:
            x, y = layer(x), layer(y)
            if isinstance(layer, nn.ReLU):
                apart = (nn.functional.normalize(x, dim=1) - nn.functional.normalize(y, dim=1)) ** 2
                total += float((apart * linear[f"lin{place}.model.1.weight"]).sum(1).mean())
                place += 1
    assert place == 5
    assert found == pytest.approx(total, rel=1e-4)


def test_pictures_are_made_ready_as_the_model_says(models: dict[str, Path]) -> None:
    seer = Seer(read_weights([f"clip={models['clip']}"])["clip"], "cpu")
    even = np.full((2, 40, 60, 3), 102, np.uint8)
    x_TCHW = seer.ready(even)
    assert x_TCHW.shape == (2, 3, 32, 32)
    expected = [(0.4 - mean) / spread for mean, spread in zip(READY["image_mean"], READY["image_std"], strict=True)]
    assert x_TCHW[0, :, 5, 5].tolist() == pytest.approx(expected, abs=1e-4)
    assert np.linalg.norm(seer.of_frames(even), axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_a_still_video_is_wholly_consistent() -> None:
    still_TD = np.repeat(np.eye(4)[:1], 5, 0)
    assert consistency(still_TD) == 1
    turning_TD = np.eye(5)
    assert consistency(turning_TD) == 0
    back_TD = np.eye(2)[[0, 1, 0]]
    assert consistency(back_TD) == pytest.approx((0 + 0 + 1 + 0) / 4)


def test_sets_of_videos_are_measured_or_refused(models: dict[str, Path]) -> None:
    learned = Learned(read_weights([f"{kind}={models[kind]}" for kind in ("videomae", "dino")]), "cpu")
    few = cases(3)
    clips = {"LoRA": {case.name: [held(moving_square(int(case.name[:6]), lag=0.3))] for case in few}}
    refused = learned.distances(few, clips)
    assert [(each.metric, each.value, each.why) for each in refused] == [
        ("FVD (VideoMAE)", None, f"3 episodes, {LEAST} are needed"),
        ("FD of frames (DINOv2)", None, f"3 episodes, {LEAST} are needed"),
    ]
    many = cases(LEAST)
    both = {
        name: {case.name: [held(moving_square(int(case.name[:6]), lag=lag, noise=noise))] for case in many}
        for name, lag, noise in (("same", 0.0, 0.0), ("far", 0.9, 40.0))
    }
    found = {(each.metric, each.candidate): each for each in learned.distances(many, both)}
    for metric in ("FVD (VideoMAE)", "FD of frames (DINOv2)"):
        same, far = found[metric, "same"], found[metric, "far"]
        assert same.value == pytest.approx(0, abs=1e-6)
        assert far.value is not None
        assert far.low is not None
        assert far.high is not None
        assert 0 <= far.low < far.high
        assert far.low <= far.value <= far.high
        kind = "dino" if "DINO" in metric else "videomae"
        assert far.weights == learned.weights[kind].digest


@given(st.integers(2, 12), st.integers(1, 6), st.integers(0, 99))
def test_the_distance_is_that_of_the_formula(extra: int, D: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    one, other = draw.normal(size=(D + extra, D)), draw.normal(1, 2, size=(D + extra + 3, D))
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (one, other)]
    root = np.atleast_2d(sqrtm(covariances[0] @ covariances[1])).real
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(sum(covariances) - 2 * root)
    assert frechet(one, other) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_few_clips_have_no_distance_and_many_an_interval() -> None:
    draw = np.random.default_rng(0)
    real = [draw.normal(size=(2, 3)) for _ in range(LEAST)]
    made, names = [each + 1.0 for each in real], [str(place) for place in range(LEAST)]
    assert measure("m", "c", "w", made[1:], real[1:], names[1:]).value is None
    found = measure("m", "c", "w", made, real, names)
    assert measure("m", "c", "w", made, real, ["one"] * LEAST).value is None
    assert found.value == pytest.approx(3)
    assert (found.low, found.high) == (pytest.approx(3), pytest.approx(3))


@pytest.mark.parametrize(
    ("asked", "said"),
    [(["dino"], "KIND=FOLDER"), (["dimo=/x"], "KIND=FOLDER"), (["dino=/nowhere"], "no weights of dino")],
)
def test_weights_that_are_none_are_refused(asked: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_weights(asked)


def test_weights_that_cannot_be_loaded_are_named(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="named twice"):
        read_weights([f"dino={models['dino']}", f"dino={models['dino']}"])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"cannot be read: No such file .*preprocessor_config\.json"):
        Learned(read_weights([f"dino={tmp_path}"]), "cpu")
    shutil.copy(models["dino"] / "preprocessor_config.json", tmp_path)
    with pytest.raises(UserError, match="the dino model cannot be loaded"):
        Learned(read_weights([f"dino={tmp_path}"]), "cpu")
    with pytest.raises(UserError, match=r"the tensor features\.0\.weight is missing"):
        Learned(read_weights([f"lpips={tmp_path}"]), "cpu")
    (tmp_path / "alex.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match="the file cannot be read"):
        Learned(read_weights([f"lpips={tmp_path}"]), "cpu")
    assert set(names_without([])) == {
        "lpips", "dino_similarity", "subject_consistency", "background_consistency",
    }  # fmt: skip
