"""Data that states its adapters is recorded with their releases, and revocation names it."""

from pathlib import Path

import pytest

from worldtune.core.files import digest_file, lock_folder
from worldtune.data.made_with import MadeWith, MadeWithAdapter, write_made_with
from worldtune.errors import RegistryError
from worldtune.registry.releases.add import add_release
from worldtune.registry.releases.lineage import build_lineage, digest_content, record_derivation
from worldtune.registry.releases.made_with import find_sources

from ..conftest import NAME, Team


def made_with(*cards: str) -> MadeWith:
    adapters = tuple(MadeWithAdapter(name=card[:4], card=card) for card in cards)
    return MadeWith(base="b" * 64, base_name="pocket", adapters=adapters, idm="c" * 64)


def test_releases_are_found_by_the_card_of_each_adapter(team: Team, tmp_path: Path) -> None:
    folders = [team.another(), team.another()]
    releases = [add_release(team.registry, team["sam"], NAME, folder).fact for folder in folders]
    dreams, data = tmp_path / "dreams", tmp_path / "data"
    cards = [digest_file(folder / "adapter.json") for folder in folders]
    write_made_with(dreams / "made_with.json", made_with(*cards))
    write_made_with(data / "meta" / "made_with.json", made_with(cards[1]))
    assert find_sources(team.registry, dreams) == tuple(release.digest for release in releases)
    assert find_sources(team.registry, data) == (releases[1].digest,)
    for kind, folder in (("episodes", dreams), ("dataset", data)):
        record_derivation(
            team.registry, team["sam"], kind, folder.name, digest_content(folder), find_sources(team.registry, folder)
        )
    found = [build_lineage(team.registry, f"{NAME}@{number}") for number in (1, 2)]
    assert [[graph.nodes[key].name for key in graph.after(graph.center)] for graph in found] == [
        ["dreams"],
        ["dreams", "data"],
    ]


def test_adapter_that_is_no_release_is_named(team: Team, tmp_path: Path) -> None:
    write_made_with(tmp_path / "made_with.json", made_with("e" * 64))
    with pytest.raises(RegistryError, match=r"the adapter eeee \(eeeeeeeeeeee\), which made it, is not a release"):
        find_sources(team.registry, tmp_path)


def test_data_that_states_no_adapter_is_refused(team: Team, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"there is no made_with\.json.*Name the releases with --from"):
        find_sources(team.registry, tmp_path)
    write_made_with(tmp_path / "made_with.json", made_with())
    with pytest.raises(RegistryError, match="made with the base pocket alone, which is not a release"):
        find_sources(team.registry, tmp_path)
    (tmp_path / "made_with.json").write_text('{"format": 1}')
    with pytest.raises(RegistryError, match="the key 'base' is missing"):
        find_sources(team.registry, tmp_path)


def test_lock_of_a_folder_is_not_its_content(tmp_path: Path) -> None:
    (tmp_path / "video.mp4").write_bytes(b"frames")
    before = digest_content(tmp_path)
    with lock_folder(tmp_path):
        pass
    assert (tmp_path / ".lock").is_file()
    assert digest_content(tmp_path) == before
