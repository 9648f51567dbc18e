"""The Hugging Face Hub: push a release as one commit, and pull from a commit, never from a branch.

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

from worldtune.core.files import scratch_folder
from worldtune.errors import PublishedError, RegistryError, UserError, first_line
from worldtune.registry.events.events import ReleaseAdded, ReleasePublished, make_fact
from worldtune.registry.exchange.release_documents import PROVENANCE_FILE, README_FILE, SBOM_FILE, build_documents
from worldtune.registry.log.event_log import Event
from worldtune.registry.log.resolve import check_not_revoked, find_release
from worldtune.registry.registry import Registry
from worldtune.registry.releases.add import ReleaseMetadata, add_release
from worldtune.registry.releases.checkout import write_files
from worldtune.registry.releases.verify_release import verify_release
from worldtune.registry.store.manifest import MAX_FILE_BYTES

_SOURCE = re.compile(r"(?P<repo>[^@/]+/[^@/]+)@(?P<commit>[0-9a-f]{40})")


def push_release(
    registry: Registry, signer: CryptoSigner, text: str, repo: str, *, private: bool = True
) -> Event[ReleasePublished]:
    """Push a release's files and model card to a repository in one commit.

    Raise RegistryError if the release is revoked, the key may not push, or the Hub rejects it; TamperError if the bytes
    were changed.
    """
    with registry.view() as state:
        release = find_release(state, text).release.fact
        check_not_revoked(state, release)
        verify_release(registry.store, state, release)
    with registry.writer(signer) as writer:
        writer.check_fact(_published(release, repo, "0" * 40))
    manifest = registry.store.manifest(release.digest)
    with scratch_folder() as folder, _hub_errors(repo):
        write_files(registry, manifest.files, folder)
        operations = [CommitOperationAdd(entry.name, folder / entry.name) for entry in manifest.files]
        operations += [CommitOperationAdd(name, content) for name, content in build_documents(registry, text).items()]
        hub = HfApi()
        hub.create_repo(repo, private=private, exist_ok=True)
        commit = hub.create_commit(repo, operations, commit_message=f"{release.name}, sha256:{release.digest}")
    try:
        with registry.writer(signer) as writer:
            return writer.append(_published(release, repo, commit.oid))
    except UserError as error:
        what = f"{release.name} was pushed to hf:{repo}, revision {commit.oid}, but not recorded: {error.what}"
        raise PublishedError(
            what, where=error.where, hint="Push it again: identical files give the same commit."
        ) from error


def pull_release(registry: Registry, signer: CryptoSigner, name: str, source: str) -> Event[ReleaseAdded]:
    """Make the adapter in a repository, at a commit, the next release of a name.

    Only file types that a release may have are downloaded. Raise RegistryError if the source names no commit, the Hub
    does not return it, or it is not a valid release.
    """
    match = _SOURCE.fullmatch(source)
    if not match:
        what = f"{source!r} names no commit; a branch can change"
        raise RegistryError(what, where="pull", hint="Give USER/NAME@COMMIT with all 40 digits of the commit.")
    with scratch_folder() as scratch:
        folder = scratch / "adapter"
        with _hub_errors(source):
            wanted = [f"*{kind}" for kind in MAX_FILE_BYTES]
            snapshot_download(match["repo"], revision=match["commit"], local_dir=folder, allow_patterns=wanted)
        for document in (README_FILE, SBOM_FILE, PROVENANCE_FILE):
            (folder / document).unlink(missing_ok=True)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # huggingface_hub's own files
        return add_release(registry, signer, name, folder, ReleaseMetadata(origin=f"hf:{source}"))


def _published(release: ReleaseAdded, repo: str, commit: str) -> ReleasePublished:
    return make_fact(ReleasePublished, release.identity | {"location": f"hf:{repo}", "revision": commit})


@contextmanager
def _hub_errors(what: str) -> Iterator[None]:
    """Turn the Hub's errors into one line; its library raises ValueError for a file name that leaves the folder."""
    try:
        yield
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, HTTPError, ValueError) as error:
        hint = "Check the name, the network and HF_TOKEN; nothing was lost."
        raise RegistryError(f"Hugging Face Hub error: {first_line(error)}", where=what, hint=hint) from error
