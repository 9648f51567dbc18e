"""A release wherever a path to an adapter is asked for: its files, verified, and what it is in the record."""

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import AdapterError, RegistryError, TamperError
from worldtune.files import cache_folder
from worldtune.registry.add import add
from worldtune.registry.approval import revoke
from worldtune.registry.facts import Released
from worldtune.registry.manifest import manifest_of
from worldtune.registry.promotion import BreakGlass, promote
from worldtune.registry.use import use

from .conftest import NAME, Team


@pytest.fixture
def release(team: Team) -> Released:
    made = add(team.registry, team["sam"], NAME, team.another()).fact
    promote(team.registry, team["sam"], made.name, "staging")
    return made


def test_a_channel_gives_the_files_and_says_which_they_are(team: Team, release: Released) -> None:
    found = use(f"{NAME}@staging", pytest.fail, team.registry.folder)
    assert manifest_of(found.path).digest == release.digest
    assert found.release == f"{NAME}@1 sha256:{release.digest}, @staging generation 1"
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in found.path.iterdir())
    assert use(f"{NAME}@1", pytest.fail, team.registry.folder).release == f"{NAME}@1 sha256:{release.digest}"


def test_files_that_were_changed_in_the_cache_are_written_anew(team: Team, release: Released) -> None:
    found = use(f"{NAME}@1", pytest.fail, team.registry.folder).path
    card = found / "adapter.json"
    card.chmod(0o644)
    card.write_text("{}")
    (found / "planted.py").write_text("")
    again = use(f"{NAME}@1", pytest.fail, team.registry.folder).path
    assert manifest_of(again).digest == release.digest


def test_bytes_that_were_changed_in_the_store_are_not_used(team: Team, release: Released) -> None:
    blob = Path(team.registry.store.path(release.weights))
    blob.write_bytes(blob.read_bytes()[:-1] + b"x")
    with pytest.raises(TamperError):
        use(f"{NAME}@1", pytest.fail, team.registry.folder)
    assert not (cache_folder() / "releases" / release.digest).exists()


def test_what_is_revoked_is_not_used_though_it_is_in_the_cache(team: Team, release: Released) -> None:
    use(f"{NAME}@staging", pytest.fail, team.registry.folder)
    revoke(team.registry, team["bob"], release.name, "bad")
    with pytest.raises(RegistryError, match="is revoked: bad"):
        use(f"{NAME}@staging", pytest.fail, team.registry.folder)


def test_whoever_uses_what_nobody_approved_is_warned(team: Team, release: Released) -> None:
    promote(team.registry, team["ann"], release.name, "production", glass=BreakGlass("down", timedelta(hours=1)))
    warnings: list[str] = []
    use(f"{NAME}@production", warnings.append, team.registry.folder)
    assert len(warnings) == 1
    assert warnings[0].startswith("BREAK-GLASS: ")


def test_a_path_that_there_is_comes_first_and_what_is_no_reference_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a@b").mkdir()
    assert use(str(tmp_path / "a@b"), pytest.fail).path == tmp_path / "a@b"
    assert use("runs/none", pytest.fail).path == Path("runs/none")


def test_a_name_alone_says_which_releases_there_are(team: Team, release: Released) -> None:
    with pytest.raises(RegistryError, match="which release of it") as error:
        use(NAME, pytest.fail, team.registry.folder)
    assert f"As {NAME}@staging; see" in error.value.mend
    assert use("cell7/front/other", pytest.fail, team.registry.folder).path == Path("cell7/front/other")


def test_without_a_registry_it_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="there is no registry here"):
        use("a@production", pytest.fail, tmp_path / "none")


def _swap(used: Path, other: Path) -> None:
    """Somebody who may write to the cache puts another consistent adapter in its place."""
    for path in used.iterdir():
        path.chmod(0o644)
        path.unlink()
    shutil.copytree(other, used, dirs_exist_ok=True)


def test_cache_that_changed_after_it_was_verified_is_not_loaded(local: Team, tiny_world: Path, tmp_path: Path) -> None:
    from worldtune.adapters.folder import load_adapter, load_adapters, read_any_layers
    from worldtune.evaluation.generated import Model
    from worldtune.generation.request import GenerationRequest, WeightedAdapter
    from worldtune.generation.resolve import resolve
    from worldtune.worlds.load import open_world

    add(local.registry, local["sam"], NAME, local.another())
    found = use(f"{NAME}@1", pytest.fail, local.registry.folder)
    _swap(found.path, local.another())
    world = open_world(str(tiny_world))
    base = world.card.digest
    weighted = WeightedAdapter(path=found.path, release=found.release, card=found.card)
    asked = GenerationRequest(
        name="a", inference_type="text2world", prompt="push", adapters=(weighted,), guidance=0, num_steps=1
    )
    assert found.card is not None
    for load in (
        lambda: load_adapter(found.path, world.denoiser, base, found.card),
        lambda: load_adapters([(found.path, 0.5)], world.denoiser, base, [str(found.card)]),
        lambda: read_any_layers(found.path, digest=found.card),
        lambda: Model("new", found.path, found.card).digest(world),
        lambda: resolve(world, asked),
    ):
        with pytest.raises(AdapterError, match="it is not the one that was verified"):
            load()


def test_cache_that_changes_between_a_request_and_its_turn_is_not_loaded(local: Team, tiny_world: Path) -> None:
    """Of a batch, an adapter that has no registry is loaded as it was when the batch was looked at."""
    from worldtune.adapters.folder import load_adapters
    from worldtune.generation.request import GenerationRequest
    from worldtune.generation.resolve import resolve
    from worldtune.worlds.load import open_world

    folder, world = local.another(), open_world(str(tiny_world))
    asked = GenerationRequest(
        name="a", inference_type="text2world", prompt="push", adapter=folder, guidance=0, num_steps=1
    )
    job = resolve(world, asked)
    _swap(folder, local.another())
    with pytest.raises(AdapterError, match="it is not the one that was verified"):
        load_adapters([(folder, 1.0)], world.denoiser, world.card.digest, job.card_digests)


def test_link_in_place_of_the_caches_folder_is_refused(local: Team, tmp_path: Path) -> None:
    release = add(local.registry, local["sam"], NAME, local.another()).fact
    folder = cache_folder() / "releases" / release.digest
    folder.parent.mkdir(parents=True)
    folder.symlink_to(local.another())
    with pytest.raises(TamperError, match="the cache's folder of this release is a link"):
        use(f"{NAME}@1", pytest.fail, local.registry.folder)


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: Path(path).mkdir(), lambda path: os.symlink("/dev/zero", path)]
)
def test_blob_that_is_no_plain_file_is_refused_and_never_waited_for(local: Team, make: Callable[[str], None]) -> None:
    release = add(local.registry, local["sam"], NAME, local.another()).fact
    path = local.registry.store.path(release.weights)
    os.unlink(path)
    make(path)
    with pytest.raises(RegistryError, match=r"is no plain file|is a link|is a directory"):
        use(f"{NAME}@1", pytest.fail, local.registry.folder)
