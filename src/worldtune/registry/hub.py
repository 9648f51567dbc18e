"""The Hugging Face Hub: a release goes out as one commit, and comes in from a commit, never from a branch.

Source: huggingface_hub's `HfApi.create_commit` and `snapshot_download`.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from httpx2 import HTTPError
from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from securesystemslib.signer import CryptoSigner

from worldtune.errors import PublishedError, RegistryError, UserError, first_line
from worldtune.files import scratch_folder
from worldtune.registry.add import About, add
from worldtune.registry.facts import Published, Released, as_fact
from worldtune.registry.log.event_log import Event
from worldtune.registry.manifest import LARGEST
from worldtune.registry.papers import BOM, PROVENANCE, README, papers_of
from worldtune.registry.registry import Registry
from worldtune.registry.releases import check_not_revoked, find
from worldtune.registry.stated import verify_bytes
from worldtune.registry.use import write_files

_SOURCE = re.compile(r"(?P<repo>[^@/]+/[^@/]+)@(?P<commit>[0-9a-f]{40})")


def push(registry: Registry, signer: CryptoSigner, text: str, repo: str, *, private: bool = True) -> Event[Published]:
    """Put a release's files and its card into a repository, in one commit.

    Raises RegistryError when it is revoked, the key may not, or the Hub refuses; TamperError when its bytes are others.
    """
    with registry.view() as state:
        release = find(state, text).release.fact
        check_not_revoked(state, release)
        verify_bytes(registry.store, state, release)
    with registry.writer(signer) as writer:
        writer.check(_published(release, repo, "0" * 40))
    manifest = registry.store.manifest(release.digest)
    with scratch_folder() as folder, _asked(repo):
        write_files(registry, manifest.files, folder)
        operations = [CommitOperationAdd(entry.name, folder / entry.name) for entry in manifest.files]
        operations += [CommitOperationAdd(name, content) for name, content in papers_of(registry, text).items()]
        hub = HfApi()
        hub.create_repo(repo, private=private, exist_ok=True)
        commit = hub.create_commit(repo, operations, commit_message=f"{release.name}, sha256:{release.digest}")
    try:
        with registry.writer(signer) as writer:
            return writer.append(_published(release, repo, commit.oid))
    except UserError as error:
        what = f"{release.name} is at hf:{repo}, revision {commit.oid}, and the log does not say so: {error.what}"
        raise PublishedError(
            what, where=error.where, mend="Push it again: the same files are the same commit."
        ) from error


def pull(registry: Registry, signer: CryptoSigner, name: str, source: str) -> Event[Released]:
    """Make the adapter in a repository, at a commit, the next release of a name.

    Only files of kinds that a release may have are fetched. Raises RegistryError when the commit is not pinned, the Hub
    does not give it, or what it gives is no release.
    """
    match = _SOURCE.fullmatch(source)
    if not match:
        what = f"{source!r} names no commit: a branch is something else tomorrow"
        raise RegistryError(what, where="pull", mend="As USER/NAME@ and the commit's 40 digits.")
    with scratch_folder() as place:
        folder = place / "adapter"
        with _asked(source):
            wanted = [f"*{kind}" for kind in LARGEST]
            snapshot_download(match["repo"], revision=match["commit"], local_dir=folder, allow_patterns=wanted)
        for paper in (README, BOM, PROVENANCE):
            (folder / paper).unlink(missing_ok=True)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # what huggingface_hub keeps for itself
        return add(registry, signer, name, folder, About(origin=f"hf:{source}"))


def _published(release: Released, repo: str, commit: str) -> Published:
    return as_fact(Published, release.identity | {"where": f"hf:{repo}", "revision": commit})


@contextmanager
def _asked(what: str) -> Iterator[None]:
    """The Hub's refusals as one line; a file name that leads out of the folder is a ValueError of its library."""
    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, HTTPError, ValueError) as error:
        mend = "Check the name, the network and HF_TOKEN; nothing was lost."
        raise RegistryError(f"the Hub refuses: {first_line(error)}", where=what, mend=mend) from error
