"""Resolve the name of a base to its files.

A name is `pocket`, a name in the catalog, a folder in diffusers' layout, or a Hugging Face repo as
`owner/name@revision`. A prefix `NAME=` states which catalog base it was trained as (two releases of one architecture
need different schedules). A suffix `+CHECKPOINT` replaces the denoiser by NVIDIA's .pt, .safetensors or DCP folder.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from worldtune.errors import BaseError, did_you_mean
from worldtune.models.catalog import BY_NAME, KnownBase
from worldtune.models.model_config import read_config

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
WANTED = ["model_index.json", *(f"{part}/*" for part in PARTS)]
TRAINED_AS = "worldtune.json"
_REPO = re.compile(r"^[\w.-]+/[\w.-]+@\S+$")


@dataclass(frozen=True)
class Source:
    """A base's files: its folder, a checkpoint that replaces the denoiser, the hub's commit, and its catalog entry."""

    folder: Path
    checkpoint: Path | None
    revision: str | None
    trained_as: KnownBase | None


def locate(source: str) -> Source:
    """Return the files of the base named `source`; a base on the hub is downloaded once.

    Raise BaseError if there is no such base, or the hub does not provide it.
    """
    stated, place = _split_trained_as(source)
    place, plus, checkpoint = (place, "", "") if Path(place).exists() else place.partition("+")
    if plus and not Path(checkpoint).exists():
        raise BaseError("there is no such checkpoint", where=checkpoint, hint="Correct the path after the +.")
    folder, revision, known = _folder(place)
    own = _download_checkpoint(known) if known and known.actions and not plus else None
    return Source(folder, Path(checkpoint) if plus else own, revision, stated or known or _trained_as(folder))


def local_folder(source: str) -> Path | None:
    """Return the folder of a base on this machine, None if it would have to be downloaded.

    Raise BaseError for an unknown name before `=`.
    """
    _, place = _split_trained_as(source)
    place = place if Path(place).exists() else place.partition("+")[0]
    if place == "pocket":
        return pocket_folder()
    if Path(place).is_dir():
        return Path(place)
    if (repo := _repo_of(place)) is None:
        return None
    try:
        return Path(snapshot_download(repo[0], revision=repo[1], allow_patterns=WANTED, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def denoiser_of(source: str) -> Path:
    """Return the path of a denoiser: an existing path itself, or that of a base. Raise BaseError as `locate` does."""
    if Path(source).exists():
        return Path(source)
    found = locate(source)
    return found.checkpoint or found.folder / "transformer"


def is_here(source: str) -> bool:
    """Return whether the base's files are on this machine, without downloading. Raise BaseError for an unknown name."""
    _, place = _split_trained_as(source)
    place = place if Path(place).exists() else place.partition("+")[0]
    if place == "pocket" or Path(place).is_dir():
        return True
    known = BY_NAME.get(place)
    repo, _, revision = (known.repo or "", "", known.revision or "") if known else place.partition("@")
    if not known and not _REPO.match(place):
        return False
    return isinstance(try_to_load_from_cache(repo, "model_index.json", revision=revision), str)


def pocket_folder() -> Path:
    """Return the folder of the pocket base in the package."""
    return Path(str(files("worldtune"))) / "pocket" / "base"


def _split_trained_as(source: str) -> tuple[KnownBase | None, str]:
    """Return the catalog entry before `=`, if any, and the rest of the name."""
    name, equals, place = source.partition("=")
    if not equals or Path(source).exists():
        return None, source
    return find_base(name, source), place


def find_base(name: str, where: str) -> KnownBase:
    """Return the catalog entry named `name`. Raise BaseError, suggesting the nearest name, if there is none."""
    if known := BY_NAME.get(name):
        return known
    hint = did_you_mean(name, BY_NAME, "See `worldtune bases`.", likeness=0.3)
    raise BaseError(f"there is no base '{name}'", where=where, hint=hint)


def _folder(place: str) -> tuple[Path, str | None, KnownBase | None]:
    """Return the folder, the hub's commit and the catalog entry of a name without prefix and suffix."""
    if place == "pocket":
        return pocket_folder(), None, BY_NAME["pocket"]
    if (known := BY_NAME.get(place)) and not Path(place).exists():
        assert known.repo is not None
        assert known.revision is not None
        folder = _download(known.repo, known.revision)
        return folder, folder.name, known
    if Path(place).is_dir():
        return Path(place), None, None
    if _REPO.match(place):
        repo, _, revision = place.partition("@")
        folder = _download(repo, revision)
        match = [base for base in BY_NAME.values() if (base.repo, base.revision) == (repo, revision)]
        return folder, folder.name, match[0] if match else None
    raise BaseError(
        "this is not a base model: there is no such folder",
        where=place,
        hint="Specify 'pocket', a base of `worldtune bases`, a folder in diffusers' layout, or owner/repo@revision.",
    )


def _repo_of(place: str) -> tuple[str, str] | None:
    """Return the hub's repo and revision that a name means, None if it means none."""
    known = BY_NAME.get(place)
    if known and known.repo and known.revision:
        return known.repo, known.revision
    repo, _, revision = place.partition("@")
    return (repo, revision) if _REPO.match(place) else None


def _download(repo: str, revision: str) -> Path:
    """Return the snapshot of a repo at a revision, from the cache or the hub; the folder's name is the commit."""
    return _from_hub(repo, revision, lambda: snapshot_download(repo, revision=revision, allow_patterns=WANTED))


def _download_checkpoint(known: KnownBase) -> Path:
    """Return NVIDIA's file of a base whose weights are in no diffusers folder."""
    repo, file = known.repo or "", known.checkpoint or ""
    return _from_hub(repo, "main", lambda: hf_hub_download(repo, file))


def _from_hub(repo: str, revision: str, fetch: Callable[[], str]) -> Path:
    """Return the fetched path. Raise BaseError with the reason if the hub does not provide it."""
    try:
        return Path(fetch())
    except HFValidationError as error:
        raise BaseError("invalid name of a repo", where=f"{repo}@{revision}", hint="Correct the name.") from error
    except GatedRepoError as error:
        hint = f"Accept its license at https://huggingface.co/{repo} and log in: hf auth login."
        raise BaseError("the repo is gated", where=f"{repo}@{revision}", hint=hint) from error
    except RevisionNotFoundError as error:
        hint = "Correct the revision."
        raise BaseError("the repo has no such revision", where=f"{repo}@{revision}", hint=hint) from error
    except RepositoryNotFoundError as error:
        hint = "Correct the name; for a private repo log in: hf auth login."
        raise BaseError("no such repo, or no access to it", where=f"{repo}@{revision}", hint=hint) from error
    except LocalEntryNotFoundError as error:
        hint = "Connect to the network, or download it elsewhere and name the folder."
        raise BaseError(
            "not in the cache, and the hub cannot be reached", where=f"{repo}@{revision}", hint=hint
        ) from error
    except HfHubHTTPError as error:
        where = f"{repo}@{revision}"
        what = f"the hub answered with status {error.response.status_code}"
        raise BaseError(what, where=where, hint="Try again.") from error


def _trained_as(folder: Path) -> KnownBase | None:
    """Return the catalog entry in a folder's worldtune.json, with its band of the first loss if stated; None without.

    Raise BaseError for an unknown base or an invalid band.
    """
    path = folder / TRAINED_AS
    if not path.is_file():
        return None
    content = read_config(path)
    name = content.get("trained_as")
    if not isinstance(name, str) or name not in BY_NAME:
        raise BaseError(f"trained_as is not a known base: {name!r}", where=str(path), hint="See `worldtune bases`.")
    known = BY_NAME[name]
    band = content.get("first_loss", list(known.first_loss))
    if not isinstance(band, list) or len(band) != 2 or not all(isinstance(end, int | float) for end in band):
        raise BaseError(f"first_loss is not a range: {band!r}", where=str(path), hint="Write it as [0.0, 0.5].")
    return replace(known, first_loss=(float(band[0]), float(band[1])))
