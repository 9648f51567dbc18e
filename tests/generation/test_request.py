import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from worldtune.data.video.image_file import read_image
from worldtune.errors import RecipeError, UserError
from worldtune.generation.request import LARGEST_PROMPT, GenerationRequest, load_requests

TEXT = {"name": "one", "inference_type": "text2world", "prompt": "a robot arm"}
IMAGE = {"name": "two", "inference_type": "image2world", "prompt": "a robot arm", "input_path": "arm.png"}


def write(path: Path, data: Any) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("\n\n".join(json.dumps(item) for item in data) + "\n")
    elif path.suffix == ".json":
        path.write_text(json.dumps(data))
    else:
        path.write_text(yaml.safe_dump(data))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(RecipeError) as error:
        load_requests(path)
    assert str(path) in error.value.where
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["requests.json", "requests.jsonl", "requests.yaml", "requests.yml"])
def test_every_format_gives_the_same_requests(tmp_path: Path, name: str) -> None:
    one, two = load_requests(write(tmp_path / name, [TEXT, IMAGE]))
    assert one == GenerationRequest(**TEXT)
    assert two.input_path == tmp_path / "arm.png"
    assert (one.known_latents, two.known_latents) == (0, 1)


@pytest.mark.parametrize("name", ["request.json", "request.yaml"])
def test_a_file_may_hold_one_request_without_a_list(tmp_path: Path, name: str) -> None:
    assert load_requests(write(tmp_path / name, TEXT)) == [GenerationRequest(**TEXT)]


def test_defaults_are_nvidias() -> None:
    request = GenerationRequest(**TEXT)
    assert (request.seed, request.guidance, request.num_steps, request.size) == (0, None, 35, None)
    assert request.negative_prompt is None
    assert request.num_output_frames is None


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    item = IMAGE | {
        "prompt_path": "texts/prompt.txt",
        "input_path": str(tmp_path / "in" / "arm.png"),
        "adapter": "../adapter",
    }
    del item["prompt"]
    (request,) = load_requests(write(tmp_path / "r.json", item))
    assert request.prompt_path == tmp_path / "texts" / "prompt.txt"
    assert request.input_path == tmp_path / "in" / "arm.png"
    assert request.adapter == tmp_path / ".." / "adapter"


@pytest.mark.parametrize("path", ["../arm.png", "/etc/passwd", "in/../../arm.png", "link/arm.png"])
@pytest.mark.parametrize("key", ["input_path", "prompt_path"])
def test_inputs_outside_the_file_s_folder_are_refused(tmp_path: Path, key: str, path: str) -> None:
    folder = tmp_path / "requests"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(RecipeError, match=f"{key} leaves the request file's folder"):
        load_requests(write(folder / "r.json", IMAGE | {key: path}))


def test_a_prompt_is_read_from_its_file(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("  a robot arm, naïvely\n")
    (request,) = load_requests(write(tmp_path / "r.json", {**TEXT, "prompt": None, "prompt_path": "p.txt"}))
    assert request.text() == "a robot arm, naïvely"
    (tmp_path / "p.txt").unlink()
    with pytest.raises(RecipeError, match="prompt file is missing"):
        request.text()


def test_utf8_bom_is_removed_from_prompts(tmp_path: Path) -> None:
    """Notepad and PowerShell write one; https://github.com/microsoft/playwright/issues/39420."""
    text = "the robot arm opens the drawer"
    (tmp_path / "p.txt").write_text(f"{text}\r\n", encoding="utf-8-sig")
    pasted = {**TEXT, "name": "b", "prompt": f"\ufeff{text}", "negative_prompt": "\ufeffblurry"}
    for name in ("r.json", "r.yaml"):
        items = [{**TEXT, "prompt": None, "prompt_path": "p.txt"}, pasted]
        (tmp_path / name).write_text(json.dumps(items), encoding="utf-8-sig")
        requests = load_requests(tmp_path / name)
        assert [request.text() for request in requests] == [text, text]
        assert requests[1].negative_prompt == "blurry"
    lines = "\n".join(map(json.dumps, items))
    (tmp_path / "r.jsonl").write_text(lines, encoding="utf-8-sig")
    assert load_requests(tmp_path / "r.jsonl") == requests


@given(st.integers(1, 9999), st.integers(1, 9999))
def test_resolution_is_height_then_width(height: int, width: int) -> None:
    assert GenerationRequest(**TEXT, resolution=f"{height},{width}").size == (height, width)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [("num_step", "num_steps"), ("negative_promt", "negative_prompt"), ("imput_path", "input_path"), ("sead", "seed")],
)
def test_an_unknown_field_suggests_the_nearest(tmp_path: Path, key: str, nearest: str) -> None:
    message = refusal(write(tmp_path / "r.json", [TEXT, {**TEXT, "name": "two", key: 1}]))
    assert f"unknown key '{key}'" in message
    assert "request 2" in message
    assert message.endswith(f"Did you mean '{nearest}'?")


def test_a_misspelled_required_field_suggests_the_nearest(tmp_path: Path) -> None:
    item = {"name": "one", "inferense_type": "text2world", "prompt": "a robot arm"}
    assert "Did you mean 'inference_type'?" in refusal(write(tmp_path / "r.json", item))


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    assert "the key 'name' is missing" in refusal(
        write(tmp_path / "r.json", {"inference_type": "text2world", "prompt": "x"})
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"prompt": None}, "either prompt or prompt_path"),
        ({"prompt_path": "p.txt"}, "either prompt or prompt_path"),
        ({"input_path": "arm.png"}, "text2world takes none"),
        ({"inference_type": "image2world"}, "need input_path"),
        ({"inference_type": "video2world"}, "need input_path"),
        ({"inference_type": "image2video"}, "'inference_type' is 'image2video'"),
        ({"guidance": 8}, "'guidance' is 8"),
        ({"num_steps": 0}, "'num_steps' is 0"),
        ({"num_output_frames": 0}, "'num_output_frames' is 0"),
        ({"seed": -1}, "'seed' is -1"),
        ({"seed": 2**63}, "'seed' is 9223372036854775808"),
        ({"resolution": "64x64"}, "'resolution' is '64x64'"),
        ({"name": "../escape"}, "'name' is '../escape'"),
        ({"name": ""}, "'name' is ''"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    assert says in refusal(write(tmp_path / "r.json", TEXT | change))


def test_duplicate_names_are_refused(tmp_path: Path) -> None:
    assert "'one' occurs twice" in refusal(write(tmp_path / "r.jsonl", [TEXT, TEXT]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.json", b"{"), ("r.json", b""), ("r.json", b"[]"), ("r.jsonl", b"\n"), ("r.jsonl", b"{}\n{"),
        ("r.yaml", b""), ("r.yaml", b"a: [1"), ("r.yaml", b"just text"), ("r.json", b"[1]"), ("r.json", b'"\xff"'),
    ],
)  # fmt: skip
def test_a_file_without_requests_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "no such request file" in refusal(tmp_path / "r.json")


def test_nulls_mean_absent_fields(tmp_path: Path) -> None:
    """The request in a manifest has nulls."""
    nulls = {"prompt_path": None, "input_path": None, "adapter": None, "chunk_size": None, "num_output_frames": None}
    assert load_requests(write(tmp_path / "r.json", TEXT | nulls)) == [GenerationRequest(**TEXT)]


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("[" * 100_000)
    assert "nested deeper than 64" in refusal(tmp_path / "r.json")


@pytest.mark.parametrize("kind", ["pipe", "itself", "folder", "large", "device"])
@pytest.mark.parametrize("key", ["prompt_path", "input_path"])
def test_a_path_to_an_unreadable_file_is_refused(tmp_path: Path, kind: str, key: str) -> None:
    path = tmp_path / "p.txt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "itself":
        path.symlink_to("p.txt")
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("x" * (LARGEST_PROMPT + 1))
    request = {**TEXT, "prompt": None, "prompt_path": "p.txt"} if key == "prompt_path" else {**IMAGE, key: "p.txt"}
    with pytest.raises(UserError) as error:
        read_first(write(tmp_path / "r.json", request))
    assert "\n" not in str(error.value)


def read_first(path: Path) -> None:
    (found,) = load_requests(path)
    if found.input_path:
        read_image(found.input_path)
    found.text()
