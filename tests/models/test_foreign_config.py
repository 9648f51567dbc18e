"""A base's folder is only data: none of its code runs, it asks no questions, and only checked files are loaded."""

import io
import json
import os
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from worldtune.errors import BaseError
from worldtune.models.load import open_world
from worldtune.models.text.reason1 import TextEncoder

WEIGHTS = "diffusion_pytorch_model.safetensors"
CONFIGS = (
    "transformer/config.json", "vae/config.json", "text_encoder/config.json", "tokenizer/tokenizer_config.json",
    "tokenizer/tokenizer.json", "model_index.json",
)  # fmt: skip
STRANGE = (None, -1, 0, 10**9, 10**400, float("nan"), "x", [], {}, [[1]], {"a": {"b": 1}}, "\ud800", "../../x", True)


@pytest.fixture
def base(tiny_world: Path, tmp_path: Path) -> Path:
    """A copy for the test to damage."""
    return shutil.copytree(tiny_world, tmp_path / "base")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def open_text(base: Path) -> TextEncoder:
    text = TextEncoder(base, torch.device("cpu"), torch.float32)
    assert text.model
    return text


def refusal(base: Path) -> str:
    with pytest.raises(BaseError) as error:
        open_all(base)
    assert "\n" not in str(error.value)
    return str(error.value)


def open_all(base: Path) -> None:
    open_world(str(base)).codec  # noqa: B018
    open_text(base)


class Bomb:
    """The content of a hostile pickle."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def test_text_encoder_equals_transformers(tiny_world: Path) -> None:
    """worldtune gives transformers a config and tensors instead of a folder."""
    ours = open_text(tiny_world)
    theirs = Qwen2_5_VLForConditionalGeneration.from_pretrained(tiny_world / "text_encoder", dtype=torch.float32)
    assert ours.model.config.to_diff_dict() == theirs.config.to_diff_dict()
    own = ours.model.state_dict()
    assert own.keys() == theirs.state_dict().keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in theirs.state_dict().items())
    tokenizer = AutoTokenizer.from_pretrained(tiny_world / "tokenizer")
    assert type(ours.tokenizer) is type(tokenizer)
    assert ours.tokenizer("the robot arm<|im_end|>") == tokenizer("the robot arm<|im_end|>")


def test_code_of_a_tokenizer_never_runs(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard input says yes, which transformers would take for consent."""
    (base / "tokenizer" / "evil.py").write_text(f"import os\nos.system('touch {tmp_path / 'ran'}')\nclass Evil: ...\n")
    edit(base / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]})
    monkeypatch.setattr("sys.stdin", answers := io.StringIO("y\n" * 99))
    assert open_text(base).length == 64
    assert not (tmp_path / "ran").exists()
    assert answers.tell() == 0
    assert "y/N" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("auto_map", [[], "evil", {"AutoTokenizer": None}, {"AutoTokenizer": [None]}, 3])
def test_auto_map_is_ignored(base: Path, auto_map: Any) -> None:
    for place in ("tokenizer/tokenizer_config.json", "text_encoder/config.json", "transformer/config.json"):
        edit(base / place, auto_map=auto_map)
    open_all(base)


@pytest.mark.parametrize("named", ["Evil", "LlamaTokenizer", None, 3, ["Qwen2Tokenizer"], "os.system"])
def test_a_tokenizer_of_another_class_is_refused(base: Path, named: Any) -> None:
    edit(base / "tokenizer" / "tokenizer_config.json", tokenizer_class=named)
    assert "not a Qwen2Tokenizer or T5Tokenizer" in refusal(base)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_a_pickle_next_to_the_weights_is_not_loaded(base: Path, part: str, tmp_path: Path) -> None:
    folder = base / part
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).rename(folder / "checked.safetensors")
    torch.save({name: tensor / 2 for name, tensor in tensors.items()}, folder / "diffusion_pytorch_model.bin")
    (folder / "diffusion_pytorch_model.pt").write_bytes(pickle.dumps(Bomb(f"touch {tmp_path / 'ran'}")))
    world = open_world(str(base))
    model = world.denoiser if part == "transformer" else world.codec.vae
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ("transformer", "49 tensors do not fit: crossattn_proj.0.bias is missing; "),
        ("vae", "146 tensors do not fit: decoder.conv_in.bias is missing; "),
        ("text_encoder", "config.json is of a model of 168,928 weights; the files hold 0 "),
    ],
)
def test_pickled_weights_are_refused(base: Path, part: str, reason: str, tmp_path: Path) -> None:
    folder = base / part
    name = next(folder.glob("*.safetensors"))
    torch.save(load_file(name), folder / "pytorch_model.bin")
    (folder / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb(f"touch {tmp_path / 'ran'}")))
    name.unlink()
    assert reason in refusal(base)
    assert not (tmp_path / "ran").exists()


def test_an_adapter_or_checkpoint_next_to_the_text_encoder_is_ignored(base: Path, tmp_path: Path) -> None:
    """transformers would look for both in the folder, and load the adapter."""
    folder = base / "text_encoder"
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path), "r": 2}))
    (folder / ".metadata").write_bytes(pickle.dumps(Bomb(f"touch {tmp_path / 'ran'}")))
    (folder / "__0_0.distcp").touch()
    open_all(base)
    assert not (tmp_path / "ran").exists()


def test_config_keys_that_select_code_or_files_are_ignored(base: Path) -> None:
    save_file({"x": torch.zeros(1)}, base / "other.safetensors")
    choices = {"transformers_weights": "../other.safetensors", "attn_implementation": "someone/kernel"}
    edit(base / "text_encoder" / "config.json", **choices)
    assert open_text(base).model.config._attn_implementation == "sdpa"
    edit(base / "text_encoder" / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    assert "quantized" in refusal(base)


def split(folder: Path) -> dict[str, str]:
    """Split the weights into two shards and an index, as in a large model."""
    path = next(folder.glob("*.safetensors"))
    tensors, stem = load_file(path), path.name.removesuffix(".safetensors")
    path.unlink()
    names: dict[str, str] = {}
    for number, part in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
        file = f"{stem}-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
        names |= dict.fromkeys(part, file)
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return names


def test_shards_are_read(base: Path, tiny_world: Path) -> None:
    for part in ("transformer", "vae", "text_encoder"):
        split(base / part)
    own, whole = open_world(str(base)), open_world(str(tiny_world))
    expected = whole.denoiser.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in own.denoiser.state_dict().items())
    expected = whole.text.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in own.text.model.state_dict().items())


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("elsewhere", "../../outside.safetensors is missing"),
        ("no text", "safetensors.index.json has no weight_map"),
        ("a list", "safetensors.index.json has no weight_map"),
        ("none", "safetensors.index.json has no weight_map"),
        ("twice", "two files hold "),
    ],
)
def test_an_invalid_index_is_refused(base: Path, tmp_path: Path, part: str, harm: str, reason: str) -> None:
    names = split(base / part)
    index = next((base / part).glob("*.index.json"))
    first = sorted(names)[0]
    match harm:
        case "elsewhere":
            shutil.move(base / part / names[first], tmp_path / "outside.safetensors")
            moved = {n: "../../outside.safetensors" if file == names[first] else file for n, file in names.items()}
            edit(index, weight_map=moved)
        case "no text":
            edit(index, weight_map=names | {first: 3})
        case "a list":
            edit(index, weight_map=sorted(names))
        case "none":
            index.write_text("{}")
        case "twice":
            tensors = load_file(base / part / names[first])
            other = next(file for file in names.values() if file != names[first])
            save_file(load_file(base / part / other) | {first: tensors[first]}, base / part / other)
    assert reason in refusal(base)


def test_links_of_the_hub_s_cache_are_read(base: Path, tiny_world: Path, tmp_path: Path) -> None:
    """A snapshot in the hub's cache consists of links into ../../blobs."""
    (tmp_path / "blobs").mkdir()
    for number, path in enumerate(sorted(path for path in base.rglob("*") if path.is_file())):
        blob = tmp_path / "blobs" / str(number)
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))
    open_all(base)
    assert open_world(str(base)).card.digest == open_world(str(tiny_world)).card.digest


@pytest.mark.parametrize(
    ("place", "change", "says"),
    [
        ("transformer/config.json", {"num_layers": 10**9}, "more than 1000 num_layers"),
        ("vae/config.json", {"num_res_blocks": 1e300}, "more than 1000 num_res_blocks"),
        ("text_encoder/config.json", {"text_config": {"num_hidden_layers": 10**7}}, "more than 1000 num_hidden_layers"),
        ("text_encoder/config.json", {"text_config": {"hidden_size": 1 << 16}}, "the files hold"),
        ("vae/config.json", {"latents_std": [0.0] * 16}, "not statistics of its channels"),
        ("vae/config.json", {"latents_mean": [0.0]}, "not statistics of its channels"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": "64"}, "model_max_length"),
        ("tokenizer/tokenizer.json", {"model": 3}, "tokenizer cannot be read"),
        ("model_index.json", {"_class_name": ["evil", "Evil"]}, "model_index.json is of a"),
    ],
)
def test_an_excessive_or_invalid_config_is_refused(base: Path, place: str, change: dict[str, Any], says: str) -> None:
    before = json.loads((base / place).read_text())
    nested = {
        key: before[key] | new if isinstance(new, dict) and key != "model" else new for key, new in change.items()
    }
    edit(base / place, **nested)
    assert says in refusal(base)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("nested", "values are nested deeper than 64"),
        ("no utf-8", "not UTF-8 text"),
        ("a pipe", "this is not a file"),
        ("a folder", "this is not a file"),
    ],
)
def test_a_config_that_is_not_json_is_refused(base: Path, name: str, harm: str, reason: str) -> None:
    path = base / name
    path.unlink()
    match harm:
        case "nested":
            path.write_text("[" * 100_000)
        case "no utf-8":
            path.write_bytes(b'{"a": "\xff"}')
        case "a pipe":
            os.mkfifo(path)
        case "a folder":
            path.mkdir()
    text = refusal(base)
    assert path.name in text
    if name == "model_index.json" and reason == "this is not a file":
        reason = "model_index.json is missing"
    assert reason in text


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    return [path, *(place for key, below in inside for place in places(below, (*path, key)))]


def test_a_mutated_config_is_harmless_or_a_one_line_error(base: Path, tiny_world: Path) -> None:
    generator = random.Random(0)
    for _ in range(60):
        name = generator.choice(CONFIGS)
        value = json.loads((tiny_world / name).read_text())
        *above, key = generator.choice(places(value)[1:])
        place = value
        for step in above:
            place = place[step]
        place[key] = generator.choice(STRANGE)
        (base / name).write_text(json.dumps(value))
        try:
            open_text(base) if name.startswith("t") and "former" not in name else open_world(str(base)).codec
        except BaseError as error:
            assert "\n" not in str(error)  # noqa: PT017  it may be harmless, too
        shutil.copy(tiny_world / name, base / name)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder"])
@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64])
def test_weights_that_are_not_floating_point_are_refused(base: Path, part: str, kind: torch.dtype) -> None:
    (path,) = (base / part).glob("*.safetensors")
    tensors = load_file(path)
    name = next(name for name in tensors if name.endswith("weight"))
    save_file(tensors | {name: tensors[name].to(kind)}, path)
    assert f"{name} has type {kind}, not floating point" in refusal(base)
