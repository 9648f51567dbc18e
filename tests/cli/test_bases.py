import json
import shutil
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file, save_file

from conftest import CommandLine
from worldtune.models.catalog import KNOWN_BASES
from worldtune.models.resolve_base import pocket_folder

from .in_process import Verb, in_process

__all__ = ["in_process"]


def test_json_contains_the_whole_catalog(worldtune: CommandLine) -> None:
    done = worldtune("bases", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads(json.dumps([asdict(base) for base in KNOWN_BASES]))


def test_table_has_two_lines_for_every_base(worldtune: CommandLine) -> None:
    heading, *lines = worldtune("bases").stdout.splitlines()
    assert heading.split() == ["base", "parameters", "bf16", "frames", "schedule", "conditioning", "frames"]
    assert len(lines) == 2 * len(KNOWN_BASES)
    for base, row, origin in zip(KNOWN_BASES, lines[::2], lines[1::2], strict=True):
        assert row.split()[0] == base.name
        assert f"{base.frames} of {base.height}×{base.width} at {base.fps} fps" in row
        assert (base.repo or "ships with worldtune") in origin
        assert base.license in origin
        assert base.text_encoder in origin


def test_table_gives_each_base_its_own_schedule(worldtune: CommandLine) -> None:
    rows = {line.split()[0]: line for line in worldtune("bases").stdout.splitlines()[1::2]}
    assert rows["predict2.5-2b/post-trained"].split()[-4:] == ["200…0.01", "σ", "=", "0.0001"]
    assert "shift 5" in rows["predict2.5-2b/pre-trained"]
    assert rows["predict2.5-2b/pre-trained"].endswith("the same σ")
    assert " 2.06 B    4.1 GB " in rows["predict2.5-2b/post-trained"]


def test_pocket_is_verified_with_clips_of_its_domain(in_process: Verb) -> None:
    done = in_process("bases", "verify", "pocket", "--clips", "builtin:pocket-base-held-out", "--count", "2", "--json")
    assert done.code == 0
    result = json.loads(done.out)
    assert result["parameters"]["denoiser"] == 4_118_400
    assert result["tensors"] == {"denoiser": 129, "codec": 146, "text encoder": 45}
    assert 0 < result["first_loss"] < 0.5
    assert len(result["base"]["digest"]) == 64


def test_untrained_weights_fail_verification(in_process: Verb, tmp_path: Path) -> None:
    """A denoiser with a zero last layer predicts nothing, like one whose weights were not loaded."""
    folder = shutil.copytree(pocket_folder(), tmp_path / "base")
    path = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["proj_out.weight"].zero_()
    save_file(tensors, path, metadata={"format": "pt"})
    done = in_process("bases", "verify", folder, "--clips", "builtin:pocket-base-held-out", "--count", "1")
    assert done.code == 2
    assert "the first loss is" in done.err
    assert in_process("bases", "verify", folder).code == 0  # names and shapes are still those of pocket
