"""Metrics with weights: tiny models of the real classes, and formulas against direct computation."""

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
from worldtune.evaluation.cases.case import video_from_frames
from worldtune.evaluation.learned.frechet import MIN_EPISODES, frechet, measure_distance
from worldtune.evaluation.learned.learned_metrics import LearnedMetrics, missing_distances
from worldtune.evaluation.learned.lpips import SCALE, SHIFT, Lpips
from worldtune.evaluation.learned.scorers import consistency, missing_metrics
from worldtune.evaluation.learned.weights import FeatureExtractor, parse_weights
from worldtune.evaluation.scoring.pixel_metrics import VideoPair

from ..clips import cases, features, moving_square

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
    """AlexNet's convolutions, with torchvision's indices."""

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


def pair(lag: float, noise: float = 0) -> VideoPair:
    return VideoPair(
        cases(1)[0], "LoRA", 0, features(moving_square(0, lag=lag, noise=noise)), features(moving_square(0)), None
    )


def by_hand(models: dict[str, Path], pair: VideoPair) -> dict[str, float]:
    """Return every metric, computed frame by frame from the models' outputs."""
    weights = parse_weights([f"{kind}={path}" for kind, path in models.items()])
    mine_THWC, real_THWC = pair.features.frames_THWC, pair.real.frames_THWC
    mine_TD, real_TD = (
        FeatureExtractor(weights["dino"], "cpu").frame_features(frames) for frames in (mine_THWC, real_THWC)
    )
    return {
        "lpips": float(np.mean(Lpips(weights["lpips"], "cpu").distance(mine_THWC, real_THWC)[1:])),
        "dino_similarity": float(np.mean([mine_TD[t] @ real_TD[t] for t in range(1, len(mine_TD))])),
        "subject_consistency": vbench(mine_TD),
        "background_consistency": vbench(FeatureExtractor(weights["clip"], "cpu").frame_features(mine_THWC)),
    }


def vbench(features_TD: np.ndarray) -> float:
    """The consistency of arXiv:2311.17982, §3.2."""
    cosines = [max(features_TD[t] @ features_TD[s], 0) for t in range(1, len(features_TD)) for s in (0, t - 1)]
    return float(np.mean(cosines))


def test_each_kind_of_weights_gives_its_metrics(models: dict[str, Path]) -> None:
    learned = LearnedMetrics(parse_weights([f"{kind}={path}" for kind, path in models.items()]), "cpu")
    same, far = pair(0), pair(0.8, noise=20)
    found = {name: value for scorer in learned.scorers for name, value in scorer.score(far).values.items()}
    assert found == pytest.approx(by_hand(models, far), rel=1e-5)
    itself = {name: value for scorer in learned.scorers for name, value in scorer.score(same).values.items()}
    assert (itself["lpips"], itself["dino_similarity"]) == (0, pytest.approx(1))
    assert found["lpips"] > 0.01
    assert found["dino_similarity"] < 0.999
    assert len({scorer.digest for scorer in learned.scorers}) == 3
    assert missing_metrics(list(models)) == {}
    assert missing_distances(list(models)) == {}


def test_lpips_is_the_weighted_distance_of_alexnets_features(models: dict[str, Path]) -> None:
    one, other = moving_square(0), moving_square(0, lag=0.5, noise=9)
    (found, *_) = Lpips(parse_weights([f"lpips={models['lpips']}"])["lpips"], "cpu").distance(one[5:6], other[5:6])
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


def test_preprocessing_follows_the_models_config(models: dict[str, Path]) -> None:
    extractor = FeatureExtractor(parse_weights([f"clip={models['clip']}"])["clip"], "cpu")
    even = np.full((2, 40, 60, 3), 102, np.uint8)
    x_TCHW = extractor.preprocess(even)
    assert x_TCHW.shape == (2, 3, 32, 32)
    expected = [(0.4 - mean) / spread for mean, spread in zip(READY["image_mean"], READY["image_std"], strict=True)]
    assert x_TCHW[0, :, 5, 5].tolist() == pytest.approx(expected, abs=1e-4)
    assert np.linalg.norm(extractor.frame_features(even), axis=1) == pytest.approx([1, 1], abs=1e-5)


def test_a_still_video_has_consistency_one() -> None:
    still_TD = np.repeat(np.eye(4)[:1], 5, 0)
    assert consistency(still_TD) == 1
    turning_TD = np.eye(5)
    assert consistency(turning_TD) == 0
    back_TD = np.eye(2)[[0, 1, 0]]
    assert consistency(back_TD) == pytest.approx((0 + 0 + 1 + 0) / 4)


def test_distances_need_enough_episodes(models: dict[str, Path]) -> None:
    learned = LearnedMetrics(parse_weights([f"{kind}={models[kind]}" for kind in ("videomae", "dino")]), "cpu")
    few = cases(3)
    clips = {"LoRA": {case.name: [video_from_frames(moving_square(int(case.name[:6]), lag=0.3))] for case in few}}
    refused = learned.distances(few, clips)
    assert [(each.metric, each.value, each.why) for each in refused] == [
        ("FVD (VideoMAE)", None, f"only 3 of {MIN_EPISODES} required episodes"),
        ("FD of frames (DINOv2)", None, f"only 3 of {MIN_EPISODES} required episodes"),
    ]
    many = cases(MIN_EPISODES)
    both = {
        name: {case.name: [video_from_frames(moving_square(int(case.name[:6]), lag=lag, noise=noise))] for case in many}
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
def test_frechet_distance_equals_the_formula(extra: int, D: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    one, other = draw.normal(size=(D + extra, D)), draw.normal(1, 2, size=(D + extra + 3, D))
    covariances = [np.atleast_2d(np.cov(x, rowvar=False)) for x in (one, other)]
    root = np.atleast_2d(sqrtm(covariances[0] @ covariances[1])).real
    expected = np.square(one.mean(0) - other.mean(0)).sum() + np.trace(sum(covariances) - 2 * root)
    assert frechet(one, other) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_few_episodes_have_no_distance_and_many_an_interval() -> None:
    draw = np.random.default_rng(0)
    real = [draw.normal(size=(2, 3)) for _ in range(MIN_EPISODES)]
    made, names = [each + 1.0 for each in real], [str(place) for place in range(MIN_EPISODES)]
    assert measure_distance("m", "c", "w", made[1:], real[1:], names[1:]).value is None
    found = measure_distance("m", "c", "w", made, real, names)
    assert measure_distance("m", "c", "w", made, real, ["one"] * MIN_EPISODES).value is None
    assert found.value == pytest.approx(3)
    assert (found.low, found.high) == (pytest.approx(3), pytest.approx(3))


@pytest.mark.parametrize(
    ("entries", "message"),
    [(["dino"], "KIND=FOLDER"), (["dimo=/x"], "KIND=FOLDER"), (["dino=/nowhere"], "no weights of dino")],
)
def test_malformed_weights_are_errors(entries: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_weights(entries)


def test_errors_name_the_weights_that_cannot_be_loaded(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="given twice"):
        parse_weights([f"dino={models['dino']}", f"dino={models['dino']}"])
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"cannot be read: No such file .*preprocessor_config\.json"):
        LearnedMetrics(parse_weights([f"dino={tmp_path}"]), "cpu")
    shutil.copy(models["dino"] / "preprocessor_config.json", tmp_path)
    with pytest.raises(UserError, match="the dino model cannot be loaded"):
        LearnedMetrics(parse_weights([f"dino={tmp_path}"]), "cpu")
    with pytest.raises(UserError, match=r"the tensor features\.0\.weight is missing"):
        LearnedMetrics(parse_weights([f"lpips={tmp_path}"]), "cpu")
    (tmp_path / "alex.pth").write_bytes(b"no weights")
    with pytest.raises(UserError, match="the file cannot be read"):
        LearnedMetrics(parse_weights([f"lpips={tmp_path}"]), "cpu")
    assert set(missing_metrics([])) == {
        "lpips", "dino_similarity", "subject_consistency", "background_consistency",
    }  # fmt: skip
