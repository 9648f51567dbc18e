"""Where a dataset's files are: in a folder here, or in a repository of the Hugging Face Hub, file by file."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from worldtune.errors import DataError, UserError

PREFIX = "hf:"
META = ["meta/*", "*.csv", "metas/*", "captions/*"]


class Shelf(Protocol):
    """`has` says whether a file can be had, `bring` gets it; `local`: are all of them here?"""

    local: bool

    def has(self, file: Path) -> bool: ...

    def bring(self, file: Path) -> Path: ...


class Folder:
    """Files that are here already."""

    local = True

    def has(self, file: Path) -> bool:
        return file.is_file()

    def bring(self, file: Path) -> Path:
        return file


class HubRepository:
    """A dataset repository at one commit: `folder` is its copy in the Hub's own cache, filled file by file.

    Raises DataError when `path` names none, UserError when the Hub does not give it or a file of it: that is the
    network's fault, for which no recording may be counted as lost.
    """

    local = False

    def __init__(self, path: str) -> None:
        from huggingface_hub import HfApi

        self._path = path
        self.repo, _, revision = path.removeprefix(PREFIX).partition("@")
        if self.repo.count("/") != 1:
            mend = "Write hf:OWNER/NAME or hf:OWNER/NAME@REVISION."
            raise DataError("not a dataset repository", where=path, mend=mend)
        with _asking(self._path):
            info = HfApi().dataset_info(self.repo, revision=revision or None)
            self.commit = str(info.sha)
            self.files = {sibling.rfilename for sibling in info.siblings or []}
            self.folder = self._fetch(META)

    def _fetch(self, patterns: list[str]) -> Path:
        """The folder, with the files of these patterns in it."""
        from huggingface_hub import snapshot_download

        found = snapshot_download(self.repo, repo_type="dataset", revision=self.commit, allow_patterns=patterns)
        for name in self.files:
            if any(fnmatch(name, pattern) for pattern in patterns) and not Path(found, name).is_file():
                raise FileNotFoundError(f"{name} did not come")  # an unfinished copy is what it gives without a network
        return Path(found)

    def has(self, file: Path) -> bool:
        return file.is_relative_to(self.folder) and str(file.relative_to(self.folder)) in self.files

    def bring(self, file: Path) -> Path:
        from huggingface_hub import hf_hub_download

        if self.has(file) and not file.is_file():
            with _asking(self._path):
                name = str(file.relative_to(self.folder))
                hf_hub_download(self.repo, name, repo_type="dataset", revision=self.commit)
        return file

    def bring_all(self) -> Path:
        """The folder with everything in it."""
        with _asking(self._path):
            self._fetch(["*"])
        return self.folder


@contextmanager
def _asking(path: str) -> Iterator[None]:
    """The Hub's and the network's errors as one line."""
    import httpx2

    try:
        yield
    except (OSError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        mend = "Check the name, the network and HF_TOKEN."
        lines = [line for line in str(error).splitlines() if line and not line.startswith("For more information")]
        said = " ".join(lines[:2]).rstrip(".") or type(error).__name__  # its first line may be a number alone
        raise UserError(f"the Hugging Face Hub does not give it: {said}", where=path, mend=mend) from error
