"""A release wherever a path to an adapter is asked for: its files, verified, and what it is in the record."""

from datetime import timedelta
from pathlib import Path

import pytest

from worldtune.errors import RegistryError, TamperError
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
