"""What a base is named by, and where its files are.

A base is named by `pocket`, a name of the catalogue, a folder in diffusers' layout, or a Hugging Face repo as
`owner/name@revision`. Two things may be added: `NAME=` in front says which base of the catalogue it was trained as
(two releases of one architecture need different schedules), and `+CHECKPOINT` behind puts another denoiser in its
place: NVIDIA's .pt, .safetensors or DCP folder.
"""

import re
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from worldtune.errors import BaseError, did_you_mean
from worldtune.worlds.catalog import BY_NAME, KnownBase
from worldtune.worlds.config_file import read_json

PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
TRAINED_AS = "worldtune.json"
_REPO = re.compile(r"^[\w.-]+/[\w.-]+@\S+$")


@dataclass(frozen=True)
class Source:
    """A base's files: its folder, another denoiser's checkpoint, the hub's commit, and what it is said to be."""

    folder: Path
    checkpoint: Path | None
    revision: str | None
    trained_as: KnownBase | None


def locate(source: str) -> Source:
    """Where the base named `source` is; what lies on the hub is downloaded once.

    Raises BaseError when there is no such base, or the hub does not give it.
    """
    said, place = _said(source)
    place, plus, checkpoint = (place, "", "") if Path(place).exists() else place.partition("+")
    if plus and not Path(checkpoint).exists():
        raise BaseError("there is no such checkpoint", where=checkpoint, mend="Correct what stands behind the +.")
    folder, revision, own = _folder(place)
    return Source(folder, Path(checkpoint) if plus else None, revision, said or own or _trained_as(folder))


def denoiser_of(source: str) -> Path:
    """Where the denoiser of a checkpoint, a folder or a base named as in `locate` is. Raises BaseError as that does."""
    if Path(source).exists():
        return Path(source)
    found = locate(source)
    return found.checkpoint or found.folder / "transformer"


def pocket_folder() -> Path:
    """Where the package keeps the pocket world."""
    return Path(str(files("worldtune"))) / "worlds" / "pocket"


def _said(source: str) -> tuple[KnownBase | None, str]:
    name, equals, place = source.partition("=")
    if not equals or Path(source).exists():
        return None, source
    return find_base(name, source), place


def find_base(name: str, where: str) -> KnownBase:
    """The catalogue's entry. Raises BaseError, which names the nearest one, when there is none."""
    if known := BY_NAME.get(name):
        return known
    mend = did_you_mean(name, BY_NAME, "See `worldtune bases`.", likeness=0.3)
    raise BaseError(f"there is no base '{name}'", where=where, mend=mend)


def _folder(place: str) -> tuple[Path, str | None, KnownBase | None]:
    """The folder, the hub's commit and the catalogue's entry of a place."""
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
        "this is no base model: there is no such folder",
        where=place,
        mend="Name 'pocket', a base of `worldtune bases`, a folder in diffusers' layout, or owner/repo@revision.",
    )


def _download(repo: str, revision: str) -> Path:
    """The snapshot of a repo at a revision, from the hub's cache or the hub; its name is the commit."""
    wanted = ["model_index.json", *(f"{part}/*" for part in PARTS)]
    try:
        return Path(snapshot_download(repo, revision=revision, allow_patterns=wanted))
    except HFValidationError as error:
        raise BaseError("this is no name of a repo", where=f"{repo}@{revision}", mend="Correct it.") from error
    except GatedRepoError as error:
        mend = f"Accept its licence at https://huggingface.co/{repo} and log in: hf auth login."
        raise BaseError("the repo is gated", where=f"{repo}@{revision}", mend=mend) from error
    except RevisionNotFoundError as error:
        raise BaseError("the repo has no such revision", where=f"{repo}@{revision}", mend="Correct it.") from error
    except RepositoryNotFoundError as error:
        mend = "Correct the name; for a private repo log in: hf auth login."
        raise BaseError("there is no such repo for you", where=f"{repo}@{revision}", mend=mend) from error
    except LocalEntryNotFoundError as error:
        mend = "Connect, or download it elsewhere and name the folder."
        raise BaseError(
            "not in the cache, and the hub is not reached", where=f"{repo}@{revision}", mend=mend
        ) from error
    except HfHubHTTPError as error:
        where = f"{repo}@{revision}"
        raise BaseError(f"the hub answers {error.response.status_code}", where=where, mend="Try again.") from error


def _trained_as(folder: Path) -> KnownBase | None:
    """What a folder's own worldtune.json says it was trained as, and the band of its first loss where that differs."""
    path = folder / TRAINED_AS
    if not path.is_file():
        return None
    told = read_json(path)
    name = told.get("trained_as")
    if not isinstance(name, str) or name not in BY_NAME:
        raise BaseError(f"it names no base of the catalogue: {name!r}", where=str(path), mend="See `worldtune bases`.")
    known = BY_NAME[name]
    band = told.get("first_loss", list(known.first_loss))
    if not isinstance(band, list) or len(band) != 2 or not all(isinstance(end, int | float) for end in band):
        raise BaseError(f"first_loss is no band: {band!r}", where=str(path), mend="Write it as [0.0, 0.5].")
    return replace(known, first_loss=(float(band[0]), float(band[1])))
