"""A release wherever a command takes an adapter's path: its verified files and its identity."""

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.core.files import cache_folder
from worldtune.errors import AdapterError, RegistryError, TamperError
from worldtune.registry.events.events import ReleaseAdded
from worldtune.registry.governance.approval import revoke_release
from worldtune.registry.governance.promotion import BreakGlass, promote
from worldtune.registry.releases.add import add_release
from worldtune.registry.releases.checkout import resolve_adapter
from worldtune.registry.store.manifest import build_manifest

from ..conftest import NAME, Team


@pytest.fixture
def release(team: Team) -> ReleaseAdded:
    made = add_release(team.registry, team["sam"], NAME, team.another()).fact
    promote(team.registry, team["sam"], made.name, "staging")
    return made


def test_channel_resolves_to_verified_files(team: Team, release: ReleaseAdded) -> None:
    found = resolve_adapter(f"{NAME}@staging", pytest.fail, team.registry.folder)
    assert build_manifest(found.path).digest == release.digest
    assert found.release == f"{NAME}@1 sha256:{release.digest}, @staging generation 1"
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in found.path.iterdir())
    assert (
        resolve_adapter(f"{NAME}@1", pytest.fail, team.registry.folder).release == f"{NAME}@1 sha256:{release.digest}"
    )


def test_changed_cache_files_are_rewritten(team: Team, release: ReleaseAdded) -> None:
    found = resolve_adapter(f"{NAME}@1", pytest.fail, team.registry.folder).path
    card = found / "adapter.json"
    card.chmod(0o644)
    card.write_text("{}")
    (found / "planted.py").write_text("")
    again = resolve_adapter(f"{NAME}@1", pytest.fail, team.registry.folder).path
    assert build_manifest(again).digest == release.digest


def test_changed_store_bytes_are_not_checked_out(team: Team, release: ReleaseAdded) -> None:
    blob = Path(team.registry.store.path(release.weights))
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(TamperError):
        resolve_adapter(f"{NAME}@1", pytest.fail, team.registry.folder)
    assert not (cache_folder() / "releases" / release.digest).exists()


def test_cached_revoked_release_is_not_used(team: Team, release: ReleaseAdded) -> None:
    resolve_adapter(f"{NAME}@staging", pytest.fail, team.registry.folder)
    revoke_release(team.registry, team["bob"], release.name, "bad")
    with pytest.raises(RegistryError, match="is revoked: bad"):
        resolve_adapter(f"{NAME}@staging", pytest.fail, team.registry.folder)


def test_break_glass_release_gives_a_warning(team: Team, release: ReleaseAdded) -> None:
    promote(
        team.registry,
        team["ann"],
        release.name,
        "production",
        break_glass=BreakGlass("down", timedelta(hours=1)),
    )
    warnings: list[str] = []
    resolve_adapter(f"{NAME}@production", warnings.append, team.registry.folder)
    assert len(warnings) == 1
    assert warnings[0].startswith("BREAK-GLASS: ")


def test_existing_path_precedes_a_reference(tmp_path: Path) -> None:
    (tmp_path / "a@b").mkdir()
    assert resolve_adapter(str(tmp_path / "a@b"), pytest.fail).path == tmp_path / "a@b"
    assert resolve_adapter("runs/none", pytest.fail).path == Path("runs/none")


def test_name_without_version_lists_its_channels(team: Team, release: ReleaseAdded) -> None:
    with pytest.raises(RegistryError, match="no version given") as error:
        resolve_adapter(NAME, pytest.fail, team.registry.folder)
    assert f"Use {NAME}@staging; see" in error.value.hint
    assert resolve_adapter("cell7/front/other", pytest.fail, team.registry.folder).path == Path("cell7/front/other")


def test_missing_registry_error_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no registry here"):
        resolve_adapter("a@production", pytest.fail, tmp_path / "none")


def _swap(used: Path, other: Path) -> None:
    """Replace a release in the cache by another consistent adapter, as a writer of the cache can."""
    for path in used.iterdir():
        path.chmod(0o644)
        path.unlink()
    shutil.copytree(other, used, dirs_exist_ok=True)


def test_cache_changed_after_verification_is_not_loaded(local: Team, tiny_world: Path, tmp_path: Path) -> None:
    from worldtune.adapters.checkpoint import read_any_layers
    from worldtune.adapters.folder import load_adapter, load_adapters
    from worldtune.evaluation.candidates.video_generator import CandidateModel
    from worldtune.generation.request import GenerationRequest, WeightedAdapter
    from worldtune.generation.validate_request import resolve
    from worldtune.models.load import open_world

    add_release(local.registry, local["sam"], NAME, local.another())
    found = resolve_adapter(f"{NAME}@1", pytest.fail, local.registry.folder)
    _swap(found.path, local.another())
    world = open_world(str(tiny_world))
    base = world.card.digest
    weighted = WeightedAdapter(path=found.path, release=found.release, card=found.card)
    request = GenerationRequest(
        name="a", inference_type="text2world", prompt="push", adapters=(weighted,), guidance=0, num_steps=1
    )
    assert found.card is not None
    for load in (
        lambda: load_adapter(found.path, world.denoiser, base, found.card),
        lambda: load_adapters([(found.path, 0.5)], world.denoiser, base, [str(found.card)]),
        lambda: read_any_layers(found.path, digest=found.card),
        lambda: CandidateModel("new", found.path, found.card).digest(world),
        lambda: resolve(world, request),
    ):
        with pytest.raises(AdapterError, match="has changed since it was verified"):
            load()


def test_cache_changed_between_requests_is_not_loaded(local: Team, tiny_world: Path) -> None:
    """An adapter without a registry is loaded as it was when the batch was read."""
    from worldtune.adapters.folder import load_adapters
    from worldtune.generation.request import GenerationRequest
    from worldtune.generation.validate_request import resolve
    from worldtune.models.load import open_world

    folder, world = local.another(), open_world(str(tiny_world))
    request = GenerationRequest(
        name="a", inference_type="text2world", prompt="push", adapter=folder, guidance=0, num_steps=1
    )
    job = resolve(world, request)
    _swap(folder, local.another())
    with pytest.raises(AdapterError, match="has changed since it was verified"):
        load_adapters([(folder, 1.0)], world.denoiser, world.card.digest, job.card_digests)


def test_cache_folder_that_is_a_link_is_rejected(local: Team, tmp_path: Path) -> None:
    release = add_release(local.registry, local["sam"], NAME, local.another()).fact
    folder = cache_folder() / "releases" / release.digest
    folder.parent.mkdir(parents=True)
    folder.symlink_to(local.another())
    with pytest.raises(TamperError, match="the cache folder of this release is a link"):
        resolve_adapter(f"{NAME}@1", pytest.fail, local.registry.folder)


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: Path(path).mkdir(), lambda path: os.symlink("/dev/zero", path)]
)
def test_special_file_as_a_blob_is_rejected_without_blocking(local: Team, make: Callable[[str], None]) -> None:
    release = add_release(local.registry, local["sam"], NAME, local.another()).fact
    path = local.registry.store.path(release.weights)
    os.unlink(path)
    make(path)
    with pytest.raises(RegistryError, match=r"is not a regular file|is a link|is a directory"):
        resolve_adapter(f"{NAME}@1", pytest.fail, local.registry.folder)
