"""A new adapter is checked on its base, as far as the base is on this machine."""

import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from support.adapters import edit_card
from support.foreign_adapter import SPOILT, write_foreign
from worldtune.adapters.card import WEIGHTS, read_card
from worldtune.adapters.formats import read_layers
from worldtune.adapters.from_foreign import save_from_foreign
from worldtune.core.files import digest_file
from worldtune.errors import AdapterError
from worldtune.models.load import open_world
from worldtune.models.resolve_base import is_here, pocket_folder
from worldtune.registry.releases.check_on_base import check_on_base


def import_foreign(folder: Path, base: str, **kind: object) -> Path:
    """Convert an adapter of another tool to our adapter folder, for a base on this machine."""
    where = pocket_folder() if base == "pocket" else Path(base)
    world = open_world(base)
    layers = read_layers(write_foreign(folder.with_suffix(".safetensors"), where, **kind), 4.0).layers
    fields = vars(world.card) | {"conditional_sigma": None}
    save_from_foreign(folder, layers, folder, fields, len(world.denoiser.transformer_blocks))
    return folder


def messages_of(folder: Path) -> list[str]:
    messages: list[str] = []
    check_on_base(folder, read_card(folder), messages.append)
    return messages


@pytest.mark.parametrize("blocks", [2, 1])
def test_adapter_that_fits_and_changes_its_base_passes(tiny_world: Path, tmp_path: Path, blocks: int) -> None:
    assert messages_of(import_foreign(tmp_path / "a", str(tiny_world), blocks=blocks)) == []


def test_adapter_that_changes_nothing_gives_a_warning(tmp_path: Path) -> None:
    messages = messages_of(import_foreign(tmp_path / "a", "pocket", zero=True))
    assert messages == [
        "warning: the adapter's B matrices are all zero, as before training",
        "warning: the adapter does not change the output of pocket",
    ]  # fmt: skip


def test_shapes_are_checked_without_the_weights(tmp_path: Path) -> None:
    folder = import_foreign(tmp_path / "a", "pocket")
    edit_card(folder, base="predict2.5-14b/post-trained", lineage={})
    with pytest.raises(
        AdapterError, match=r"for a weight of \(192, 192\), in predict2.5-14b/post-trained it is \(5120"
    ):
        messages_of(folder)


def test_skipped_probe_is_noted(tmp_path: Path) -> None:
    folder = import_foreign(tmp_path / "a", "pocket")
    edit_card(folder, base_digest="0" * 64)
    (messages,) = messages_of(folder)
    assert messages.startswith(
        "note: the shapes fit pocket, but no probe was run: pocket is another base on this machine"
    )
    edit_card(folder, base="robot-base", lineage={})
    assert messages_of(folder) == ["note: no probe was run: the weights of robot-base are not on this machine"]
    (tmp_path / "empty").mkdir()
    edit_card(folder, lineage={"base": {"source": str(tmp_path / "empty")}})
    (messages,) = messages_of(folder)
    assert "cannot be opened as a base here" in messages


def test_nan_with_matching_digests_is_rejected(tiny_world: Path, tmp_path: Path) -> None:
    folder = import_foreign(tmp_path / "a", str(tiny_world))
    spoilt = write_foreign(tmp_path / "spoilt.safetensors", tiny_world, spoilt=True)
    with safe_open(folder / WEIGHTS, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(spoilt), folder / WEIGHTS, metadata=metadata)
    edit_card(folder, weights_digest=digest_file(folder / WEIGHTS))
    with pytest.raises(AdapterError, match=f"{SPOILT} contains NaN or infinity"):
        messages_of(folder)


def test_adapter_with_a_preflight_check_is_not_probed_again(tiny_adapter: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_adapter, tmp_path / "own")
    assert messages_of(folder) == []


def test_is_here_needs_no_download(tiny_world: Path) -> None:
    assert is_here("pocket")
    assert is_here(str(tiny_world))
    assert is_here(f"pocket={tiny_world}")
    assert not is_here("predict2.5-14b/post-trained")
    assert not is_here("owner/repo@main")
    assert not is_here("robot-base")
