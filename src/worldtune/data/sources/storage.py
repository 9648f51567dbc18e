"""Storage of a dataset's files: a local folder, or a repository of the Hugging Face Hub, file by file."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from worldtune.errors import DataError, UserError

HUB_PREFIX = "hf:"
METADATA_PATTERNS = ["meta/*", "*.csv", "metas/*", "captions/*"]


class Storage(Protocol):
    """`has`: whether a file exists; `fetch`: download it if needed; `is_local`: whether all files are local."""

    is_local: bool

    def has(self, file: Path) -> bool: ...

    def fetch(self, file: Path) -> Path: ...


class LocalStorage:
    """Files that are local already."""

    is_local = True

    def has(self, file: Path) -> bool:
        return file.is_file()

    def fetch(self, file: Path) -> Path:
        return file


class HubRepository:
    """A dataset repository at one commit: `folder` is its copy in the Hub's own cache, filled file by file.

    Raise DataError if `path` names no repository, UserError if the Hub does not deliver it or one of its files: a
    network failure must not count as a skipped recording.
    """

    is_local = False

    def __init__(self, path: str) -> None:
        from huggingface_hub import HfApi

        self._path = path
        self.repo, _, revision = path.removeprefix(HUB_PREFIX).partition("@")
        if self.repo.count("/") != 1:
            hint = "Write hf:OWNER/NAME or hf:OWNER/NAME@REVISION."
            raise DataError("not a dataset repository", where=path, hint=hint)
        with _reporting_hub_errors(self._path):
            info = HfApi().dataset_info(self.repo, revision=revision or None)
            self.commit = str(info.sha)
            self.files = {sibling.rfilename for sibling in info.siblings or []}
            self.folder = self._download(METADATA_PATTERNS)

    def _download(self, patterns: list[str]) -> Path:
        """Return the folder after downloading the files of these patterns."""
        from huggingface_hub import snapshot_download

        folder = snapshot_download(self.repo, repo_type="dataset", revision=self.commit, allow_patterns=patterns)
        for name in sorted(self.files):
            if any(fnmatch(name, pattern) for pattern in patterns) and not Path(folder, name).is_file():
                raise FileNotFoundError(
                    f"{name} was not downloaded"
                )  # without a network, the Hub's client returns an incomplete copy
        return Path(folder)

    def has(self, file: Path) -> bool:
        return file.is_relative_to(self.folder) and str(file.relative_to(self.folder)) in self.files

    def fetch(self, file: Path) -> Path:
        from huggingface_hub import hf_hub_download

        if self.has(file) and not file.is_file():
            with _reporting_hub_errors(self._path):
                name = str(file.relative_to(self.folder))
                hf_hub_download(self.repo, name, repo_type="dataset", revision=self.commit)
        return file

    def fetch_all(self) -> Path:
        """Return the folder after downloading all files."""
        with _reporting_hub_errors(self._path):
            self._download(["*"])
        return self.folder


@contextmanager
def _reporting_hub_errors(path: str) -> Iterator[None]:
    """Raise the Hub's and the network's errors as one line."""
    import httpx2

    try:
        yield
    except (OSError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as error:
        hint = "Check the name, the network and HF_TOKEN."
        lines = [line for line in str(error).splitlines() if line and not line.startswith("For more information")]
        text = " ".join(lines[:2]).rstrip(".") or type(error).__name__  # the first line may be only a number
        raise UserError(f"the Hugging Face Hub did not deliver it: {text}", where=path, hint=hint) from error
