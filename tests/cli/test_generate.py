import json
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.adapters import SPECS, edit_card, make_card, train_by_hand
from support.films import film
from support.processes import start, wait_until
from worldtune.adapters.card import CARD
from worldtune.adapters.folder import save_adapter
from worldtune.cli.main import INTERRUPTED, INTERRUPTION
from worldtune.data.video.decode import read_frames, write_video
from worldtune.data.video.video_index import measure_video
from worldtune.models.load import open_world

from .in_process import Verb, in_process
from .in_process import fault as one_line

__all__ = ["in_process"]

SMALL = {"resolution": "32,32", "num_output_frames": 5, "num_steps": 2, "guidance": 0, "prompt": "the square goes down"}
TEXT = {"name": "text", "inference_type": "text2world", **SMALL}
OPTIONS = ("--steps", "1", "--prompt", "the square goes down")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "film.png"), film(0, "the square goes down", (9, 99, 199))[0])
    return tmp_path / "film.png"


@pytest.fixture
def adapter(tiny_world: Path, tmp_path: Path) -> Path:
    world = open_world(str(tiny_world))
    train_by_hand(world.denoiser, SPECS["lora"])
    save_adapter(tmp_path / "adapter", world.denoiser, make_card(SPECS["lora"], world.card.digest))
    return tmp_path / "adapter"


def write(path: Path, *requests: dict[str, object]) -> Path:
    path.write_text(json.dumps(list(requests)))
    return path


def fault(in_process: Verb, *arguments: str | Path) -> str:
    return one_line(in_process, "generate", *arguments)


def test_request_file_becomes_videos_with_manifests(
    in_process: Verb, tiny_world: Path, adapter: Path, picture: Path, tmp_path: Path
) -> None:
    image = {**TEXT, "name": "image", "inference_type": "image2world", "input_path": picture.name}
    adapted = {**image, "name": "adapted", "adapter": adapter.name}
    again = {**image, "name": "again"}
    requests = write(tmp_path / "r.json", TEXT, image, adapted, again)
    done = in_process("generate", requests, "--base", tiny_world, "-o", "out")
    assert done.code == 0, done.err
    names = ["text", "image", "adapted", "again"]
    assert done.out.split() == [f"out/{name}.mp4" for name in names]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{name}.{kind}" for name in names for kind in ("mp4", "json")
    )
    assert {measure_video(tmp_path / "out" / f"{name}.mp4").frames for name in names} == {5}
    manifests = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in names}
    assert [adapter["folder"] for adapter in manifests["adapted"]["adapters"]] == [str(adapter)]
    assert manifests["again"]["adapters"] == []
    assert manifests["again"]["video"] == manifests["image"]["video"]
    assert manifests["adapted"]["video"]["sha256"] != manifests["image"]["video"]["sha256"]


def test_options_alone_make_a_video(in_process: Verb, tiny_world: Path, picture: Path, tmp_path: Path) -> None:
    done = in_process("generate", *OPTIONS, "--input", picture, "--base", tiny_world, "--seed", "4", "-o", "out")
    assert done.code == 0, done.err
    request = json.loads((tmp_path / "out" / "video.json").read_text())["request"]
    assert (request["name"], request["inference_type"], request["seed"]) == ("video", "image2world", 4)
    assert (request["num_steps"], request["guidance"]) == (1, 0)


@pytest.mark.parametrize("options", [("--compile",), ("--offload", "sequential"), ("--offload", "group")])
def test_compile_and_offload_do_not_change_the_frames(
    in_process: Verb, tiny_world: Path, picture: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    for folder, given in (("plain", ()), ("other", options)):
        done = in_process("generate", *OPTIONS, *given, "--input", picture, "--base", tiny_world, "-o", folder)
        assert done.code == 0, done.err
    plain, other = (json.loads((tmp_path / folder / "video.json").read_text()) for folder in ("plain", "other"))
    assert plain["computed"] == {"device": "cpu", "precision": "float32", "compiled": False}
    assert other["computed"] == {"device": "cpu", "precision": "float32", "compiled": "--compile" in options}
    a, b = (np.stack(list(read_frames(tmp_path / f / "video.mp4"))).astype(int) for f in ("plain", "other"))
    # Of 255. Compiled code rounds differently on each machine, and lossy coding turns that into whole steps.
    assert np.abs(a - b).mean() <= (0.25 if "--compile" in options else 0)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--device", "cuda:99"), "there is no device 'cuda:99' here"),
        (("--device", "tpu"), "there is no device 'tpu' here"),
        (("--device", "cpu:"), "there is no device 'cpu:' here"),
        (("--offload", "disk"), "unknown value 'disk'"),
        (("--offload", "group", "--compile"), "cannot be combined"),
    ],
)
def test_impossible_device_or_offload_is_rejected(
    in_process: Verb, tiny_world: Path, options: tuple[str, ...], what: str
) -> None:
    assert what in fault(in_process, *OPTIONS, *options, "--base", tiny_world)


def test_adapter_option_applies_to_all_requests(
    in_process: Verb, tiny_world: Path, adapter: Path, tmp_path: Path
) -> None:
    requests = write(tmp_path / "r.json", TEXT)
    done = in_process("generate", requests, "--base", tiny_world, "--adapter", adapter, "-o", "out")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out" / "text.json").read_text())["adapters"][0]["folder"] == str(adapter)


def test_adapter_for_another_base_is_rejected(
    in_process: Verb, tiny_world: Path, adapter: Path, tmp_path: Path
) -> None:
    edit_card(adapter, base_digest="0" * 64, base="another")
    line = fault(in_process, *OPTIONS, "--base", tiny_world, "--adapter", adapter, "-o", "out")
    assert "made for another base: another 000000000000" in line
    assert list((tmp_path / "out").iterdir()) == []


def test_changed_digit_in_card_is_rejected(in_process: Verb, tiny_world: Path, adapter: Path, tmp_path: Path) -> None:
    text = (adapter / CARD).read_text()
    (adapter / CARD).write_text(text.replace('"fps": 16', '"fps": 18'))
    assert (adapter / CARD).read_text() != text
    line = fault(in_process, *OPTIONS, "--base", tiny_world, "--adapter", adapter, "-o", "out")
    assert "adapter.json was changed" in line
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"num_step": 3}, "Did you mean 'num_steps'?"),
        ({"input_path": "film.png"}, "text2world takes none"),
        ({"inference_type": "image2world", "input_path": "gone.png"}, "the input is missing"),
        ({"num_output_frames": 6}, "frames must be 1 + 4n"),
        ({"adapter": "gone"}, "there is no adapter.json"),
        ({"prompt": " "}, "the prompt is empty"),
        ({"prompt": None, "prompt_path": "gone.txt"}, "the prompt file is missing"),
        ({"prompt": None, "prompt_path": "film.bin"}, "the prompt is not UTF-8 text"),
    ],
)
def test_wrong_request_is_one_line(
    in_process: Verb, tiny_world: Path, tmp_path: Path, change: dict[str, object], says: str
) -> None:
    (tmp_path / "film.bin").write_bytes(b"\xff\xfe\x00")
    requests = write(tmp_path / "r.json", {**TEXT, **change})
    assert says in fault(in_process, requests, "--base", tiny_world, "-o", "out")
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("*.mp4"))


def test_options_beside_a_request_file_are_rejected(in_process: Verb, tiny_world: Path, tmp_path: Path) -> None:
    requests = write(tmp_path / "r.json", TEXT)
    assert "seed, guidance would be ignored" in fault(in_process, requests, "--seed", "0", "--guidance", "3")


def test_missing_prompt_is_rejected(in_process: Verb, tiny_world: Path) -> None:
    assert "give either prompt or prompt_path" in fault(in_process, "--base", tiny_world)


@pytest.mark.parametrize("base", ["nowhere", "."])
def test_unknown_base_is_rejected(in_process: Verb, base: str) -> None:
    assert "this is not a base model" in fault(in_process, *OPTIONS, "--base", base)


def test_unwritable_output_is_reported_before_any_work(in_process: Verb, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot create the folder" in fault(in_process, *OPTIONS, "--base", "nowhere", "-o", "file/out")


def test_interruption_leaves_only_complete_videos(tiny_world: Path, tmp_path: Path) -> None:
    requests = write(tmp_path / "r.json", TEXT, {**TEXT, "name": "endless", "num_steps": 5_000})
    process = start("generate", requests, "--base", tiny_world, "-o", tmp_path / "out")
    wait_until(lambda: (tmp_path / "out" / "text.mp4").exists(), process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == INTERRUPTED, err
    assert err.splitlines()[-1] == INTERRUPTION
    assert "Traceback" not in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["text.json", "text.mp4"]
    assert measure_video(tmp_path / "out" / "text.mp4").frames == 5


def test_options_and_request_file_have_the_same_defaults(in_process: Verb, tiny_world: Path, tmp_path: Path) -> None:
    """Guidance, steps and frame rate."""
    write(tmp_path / "r.json", {"name": "file", "inference_type": "text2world", "prompt": "a"})
    assert in_process("generate", "r.json", "--base", tiny_world, "-o", "out").code == 0
    assert in_process("generate", "--prompt", "a", "--name", "option", "--base", tiny_world, "-o", "out").code == 0
    file, option = (json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("file", "option"))
    assert file["video"] == option["video"]
    assert file["schedule"] == option["schedule"]
    assert file["request"] | {"name": ""} == option["request"] | {"name": ""}
    assert file["request"]["guidance"] == 0  # pocket's default


@pytest.mark.parametrize(("fps", "warning"), [(30, "film.mp4 has 30 frames per second; the generated video has 16"),
                                           (16, "")])  # fmt: skip
def test_frame_rate_of_the_input_video_is_reported(
    in_process: Verb, tiny_world: Path, tmp_path: Path, fps: int, warning: str
) -> None:
    write_video(tmp_path / "film.mp4", film(0, "the square goes down", (9, 99, 199)), fps)
    options = ("--prompt", "a", "--steps", "1", "--input", "film.mp4", "--base", tiny_world, "-o", "out")
    done = in_process("generate", *options)
    assert done.code == 0, done.err
    assert warning in " ".join(done.err.split())
    assert ("frames per second" in done.err) == bool(warning)
    assert json.loads((tmp_path / "out" / "video.json").read_text())["input"]["fps"] == fps


def test_input_video_is_continued_as_video2world(in_process: Verb, tiny_world: Path, tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", film(0, "the square goes down", (9, 99, 199)), 16)
    done = in_process("generate", *OPTIONS, "--base", tiny_world, "--input", "film.mp4", "-o", "out")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "out" / "video.json").read_text())["request"]["inference_type"] == "video2world"


def test_existing_video_is_replaced_only_with_overwrite(in_process: Verb, tiny_world: Path, tmp_path: Path) -> None:
    options = (*OPTIONS, "--base", tiny_world, "-o", "out")
    assert in_process("generate", *options).code == 0
    before = (tmp_path / "out" / "video.mp4").stat().st_mtime_ns
    assert "the video already exists" in fault(in_process, *options)
    assert (tmp_path / "out" / "video.mp4").stat().st_mtime_ns == before
    assert in_process("generate", *options, "--overwrite").code == 0
    assert (tmp_path / "out" / "video.mp4").stat().st_mtime_ns > before


def test_last_request_is_checked_before_the_first_is_made(in_process: Verb, tiny_world: Path, tmp_path: Path) -> None:
    last = {**TEXT, "name": "last", "inference_type": "image2world", "input_path": "gone.png"}
    requests = write(tmp_path / "requests.json", TEXT, last)
    assert "the input is missing" in fault(in_process, requests, "--base", tiny_world, "-o", "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_best_of_three_seeds_is_kept_with_scores(
    in_process: Verb, tiny_world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text("def brightness(frames, prompt): return frames.mean()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    judged = ("--best-of", "3", "--critic", "mine:brightness", "--seed", "4")
    done = in_process("generate", *OPTIONS, *judged, "--base", tiny_world, "-o", "out")
    assert done.code == 0, done.err
    manifest = json.loads((tmp_path / "out" / "video.json").read_text())
    scores = manifest["best_of"]["scores"]
    assert sorted(scores) == ["4", "5", "6"]
    assert str(manifest["request"]["seed"]) == max(scores, key=lambda seed: scores[seed])
    assert "need each other" in fault(in_process, *OPTIONS, "--best-of", "3")


def test_guardrails_off_warns_and_required_needs_the_package(
    in_process: Verb, tiny_world: Path, tmp_path: Path
) -> None:
    done = in_process("generate", *OPTIONS, "--guardrails", "off", "--base", tiny_world, "-o", "out")
    assert "the NVIDIA Open Model License requires them" in done.err
    assert json.loads((tmp_path / "out" / "video.json").read_text())["guardrails"] == []
    assert "pip install cosmos-guardrail" in fault(in_process, *OPTIONS, "--guardrails", "required")
    assert "required, available or off" in fault(in_process, *OPTIONS, "--guardrails", "on")
