import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from conftest import CommandLine
from worldtune.cli.machine import POCKET, check_dependency, check_disk, check_h264, check_pocket, check_threads


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with a checksum list written by sha256sum(1)."""
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "model.safetensors").write_bytes(bytes(1000))
    (tmp_path / "model_index.json").write_text("{}")
    files = ["model_index.json", "vae/model.safetensors"]
    sums = subprocess.run(["sha256sum", *files], cwd=tmp_path, capture_output=True, check=True).stdout
    (tmp_path / "SHA256SUMS").write_bytes(sums)
    return tmp_path


def test_packaged_pocket_world_is_complete() -> None:
    assert check_pocket(POCKET).state == "ok", check_pocket(POCKET)


def test_complete_folder_is_ok(world: Path) -> None:
    check = check_pocket(world)
    assert check.state == "ok"
    assert check.found.startswith("2 files")


def test_one_changed_byte_is_reported_as_damage(world: Path) -> None:
    path = world / "vae" / "model.safetensors"
    path.write_bytes(bytes(999) + b"\x01")
    check = check_pocket(world)
    assert check.state == "broken"
    assert f"{path} is damaged" in check.found


def test_missing_file_is_named(world: Path) -> None:
    (world / "model_index.json").unlink()
    assert check_pocket(world).found == f"{world / 'model_index.json'} is missing"


def test_absent_or_empty_checksum_list_is_broken(world: Path) -> None:
    (world / "SHA256SUMS").write_text("")
    assert check_pocket(world).state == "broken"
    (world / "SHA256SUMS").unlink()
    assert check_pocket(world).state == "broken"


def test_library_in_its_range_is_ok() -> None:
    check = check_dependency(Requirement("numpy>=1"))
    assert (check.state, check.found) == ("ok", f"{version('numpy')} (>=1)")


def test_library_outside_its_range_is_broken_and_has_a_hint() -> None:
    check = check_dependency(Requirement("numpy<1"))
    assert check.state == "broken"
    assert 'pip install "numpy<1"' in check.hint


def test_absent_library_is_broken() -> None:
    check = check_dependency(Requirement("no-such-library-at-all>=2"))
    assert (check.state, check.found) == ("broken", "not installed")


def test_this_machine_encodes_and_decodes_h264() -> None:
    assert check_h264().state == "ok"


def test_more_threads_than_cores_is_noted() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(4096)
        assert check_threads().state == "note"
    finally:
        torch.set_num_threads(before)


def test_disk_space_is_measured_at_the_runs_folder(tmp_path: Path) -> None:
    assert str(tmp_path) in check_disk(tmp_path).found


def test_json_and_exit_code_agree(worldtune: CommandLine) -> None:
    done = worldtune("doctor", "--json")
    report = json.loads(done.stdout)
    broken = [check["name"] for check in report["checks"] if check["state"] == "broken"]
    assert report["ok"] == (not broken)
    assert done.returncode == (2 if broken else 0)
    assert all(check["hint"] for check in report["checks"] if check["state"] == "broken")
    assert {"python", "memory", "disk", "h264", "gpu", "pocket", "threads"} <= {c["name"] for c in report["checks"]}
