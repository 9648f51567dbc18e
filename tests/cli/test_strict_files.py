"""Files that parsers read differently, or that stop a parser, on the command line: one line, exit code 2."""

import json
import sys
from pathlib import Path

import pytest

from support.training import write_recipe

from .in_process import Verb, fault, in_process

__all__ = ["in_process"]

MERGES = "\n".join(
    ["a0: &a0 {k: 1}", *(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], x{n}: 1}}" for n in range(1, 9))]
)
HARM = [
    (MERGES, "aliases expand to more than 200,000 values"),
    ("a: &a [*a]", "an alias is inside its own anchor"),
    ("[" * 50_000, "nested deeper than 64"),
    ("name: a\nname: b", "the key 'name' is given twice"),
    ("name: '\ud800'".encode("utf-8", "surrogatepass"), "not UTF-8 text"),
    ('name: "\\0"', "a NUL character"),
    ("name: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
]
PROMPT = {"inference_type": "text2world", "prompt": "a robot arm"}


@pytest.mark.parametrize(("content", "says"), HARM, ids=[says for _, says in HARM])
def test_harmful_yaml_is_rejected(
    in_process: Verb, tiny_world: Path, tmp_path: Path, content: str | bytes, says: str
) -> None:
    harm = tmp_path / "harm.yaml"
    harm.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert says in fault(in_process, "train", "harm.yaml", "--out", "run")
    assert says in fault(in_process, "generate", "harm.yaml", "--base", tiny_world)
    recipe = write_recipe(tmp_path, tiny_world)
    assert says in fault(in_process, "check", recipe, "data.captions=harm.yaml")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.path=" + "[" * 50_000, "nested deeper than 64"),
        ("train={steps: 1, steps: 2}", "the key 'steps' is given twice"),
        ("train=&a {steps: *a}", "an alias is inside"),
        ("train.lr=.nan", "not a finite number"),
        ("train.steps=1" + "0" * 80, "more than 40 digits"),
        ("data.fps=1.0e+30", "'data.fps'"),
        ("data.fps=1.0e-9", "'data.fps'"),
        ("data.height=100000000000", "'data.height'"),
        ("adapter.rank=100000000000", "'adapter.rank'"),
        ("adapter.alpha=1.0e+30", "'adapter.alpha'"),
        ("a." * 20_000 + "b=1", "unknown key"),
        ("data." * 20_000 + "b=1", "unknown key"),
    ],
    ids=lambda text: text[:24],
)
def test_harmful_overrides_are_rejected(
    in_process: Verb, tiny_world: Path, tmp_path: Path, override: str, says: str
) -> None:
    recipe = write_recipe(tmp_path, tiny_world)
    assert says in fault(in_process, "train", recipe, override, "--out", "run")
    assert not (tmp_path / "run").exists()


def request(**fields: object) -> dict[str, object]:
    return PROMPT | {"name": "second"} | fields


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (request(prompt="a \ud800"), "a lone surrogate"),
        (request(prompt="a \0"), "a NUL character"),
        (request(prompt=None, prompt_path="a\0.txt"), "a NUL character"),
        (request(inference_type="image2world", input_path="a\ud800.png"), "a lone surrogate"),
        (request(adapter="\0"), "a NUL character"),
        (request(adapters=[{"path": "a", "weight": 1e300}]), "weight"),
        (request(name="n" * 200), "'name'"),
        (request(resolution="9" * 5000 + ",64"), "'resolution'"),
        (request(num_output_frames=10**30), "'num_output_frames'"),
        (request(num_steps=10**30), "'num_steps'"),
        (request(adapter="a" * 5000 + "@production"), "file name too long"),
    ],
    ids=lambda part: str(part)[-40:],
)
def test_bad_second_request_is_rejected_before_the_first_is_made(
    in_process: Verb, tiny_world: Path, tmp_path: Path, second: dict[str, object], says: str
) -> None:
    (tmp_path / "r.jsonl").write_text("\n".join(json.dumps(one) for one in (PROMPT | {"name": "first"}, second)))
    assert says in fault(in_process, "generate", "r.jsonl", "--base", tiny_world, "-o", "out")
    assert not (tmp_path / "out" / "first.mp4").exists()


def test_prompt_file_with_a_nul_is_rejected_before_the_first_request(
    in_process: Verb, tiny_world: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.txt").write_text("a\0b")
    size = {"resolution": "32,32", "num_output_frames": 9, "num_steps": 1, "guidance": 0}
    requests = [PROMPT | {"name": "first"} | size, request(prompt=None, prompt_path="p.txt") | size]
    (tmp_path / "r.json").write_text(json.dumps(requests))
    line = fault(in_process, "generate", "r.json", "--base", tiny_world, "-o", "out", "--device", "cpu")
    assert "the prompt holds a NUL character [second]" in line
    assert list((tmp_path / "out").iterdir()) == []


def test_prompt_that_is_not_utf8_is_rejected(in_process: Verb, tiny_world: Path) -> None:
    prompt = b"a \xff".decode(sys.getfilesystemencoding(), "surrogateescape")  # as Python reads the command line
    assert "a lone surrogate" in fault(in_process, "generate", "--base", tiny_world, "--prompt", prompt)
