"""The registry's Python API: one object to open, read, and write to with one key.

Each method imports what it needs, so listing adapters loads no model or video library.
"""

from __future__ import annotations

import getpass
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from worldtune.core.progress import Progress, silent, stage
from worldtune.registry.registry import DEFAULT_LISTENER, Listener
from worldtune.registry.registry import Registry as Log

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from worldtune.registry.events.events import (
        ApprovalWithdrawn,
        ArtifactDerived,
        BaseRevoked,
        ChannelUpdated,
        Labeled,
        ReleaseAdded,
        ReleaseApproved,
        ReleaseEvaluated,
        ReleaseRevoked,
    )
    from worldtune.registry.governance.promotion import BreakGlass
    from worldtune.registry.log.event_log import Event
    from worldtune.registry.log.release_status import ReleaseStatus
    from worldtune.registry.releases.listing import AdapterSummary
    from worldtune.registry.verify import Verification
    from worldtune.training.session import TrainingRun

logger = logging.getLogger(__name__)


class Registry:
    """A registry of adapters: names, lineage, evidence, approval, rollback.

    A release is named NAME@NUMBER, NAME@CHANNEL or NAME@sha256:DIGEST. Each write appends an event signed by `key`
    (default: WORLDTUNE_KEY, else your own key); `event.fact` says what happened, `event.fact.name` to which release.
    Every method raises RegistryError if the registry rejects the request, TamperError if bytes or events differ from
    what was written.

    Example:
        >>> registry = wt.Registry.create("registry", person="ann")
        >>> release = registry.add("cell7/front/pick", "runs/first", labels={"robot": "so101"}).fact
        >>> release.name, release.author, release.base_name
        ('cell7/front/pick@1', 'ann', 'pocket')
        >>> registry.promote("cell7/front/pick@1", "staging").fact.generation
        1
        >>> [(adapter.name, adapter.channels) for adapter in registry.adapters()]
        [('cell7/front/pick', {'staging': 1})]
        >>> registry.verify().is_valid
        True
    """

    def __init__(self, log: Log, key: str | Path | None = None) -> None:
        self.log = log
        self._key = key

    @classmethod
    def open(
        cls,
        folder: str | Path | None = None,
        *,
        key: str | Path | None = None,
        listener: Listener | None = None,
        ignore_cache: bool = False,
    ) -> Registry:
        """Open the registry in `folder` (default: WORLDTUNE_REGISTRY, else your own).

        `listener` receives notes and verification progress. With `ignore_cache` every event is verified again.
        """
        from worldtune.registry.registry import open_registry

        return cls(
            open_registry(
                None if folder is None else Path(folder), listener or DEFAULT_LISTENER, ignore_cache=ignore_cache
            ),
            key,
        )

    @classmethod
    def create(
        cls,
        folder: str | Path | None = None,
        *,
        person: str | None = None,
        database: str | None = None,
        store: str | None = None,
        key: str | Path | None = None,
    ) -> Registry:
        """Create a registry whose first administrator is `person` (default: your account's name).

        The default `database` and `store` are files in the folder; others are postgresql+psycopg://… and s3://….
        A key is created if you have none.
        """
        from worldtune.registry.registry import create_registry, default_folder
        from worldtune.registry.signing.keys import default_key_path, generate_key, load_key

        path = Path(key) if key else default_key_path()
        signer = load_key(path) if path.exists() else generate_key(path)
        location = Path(folder) if folder else default_folder()
        return cls(create_registry(location, person or getpass.getuser(), signer, database, store), path)

    @classmethod
    def join(
        cls, founder: str, database: str, store: str, *, folder: str | Path | None = None, key: str | Path | None = None
    ) -> Registry:
        """Join a registry that another machine created; `founder` is the id of the key that created it."""
        from worldtune.registry.registry import default_folder, join_registry

        return cls(join_registry(Path(folder) if folder else default_folder(), founder, database, store), key)

    @property
    def key(self) -> Path:
        """The file of the signing key."""
        from worldtune.registry.signing.keys import default_key_path

        return Path(self._key) if self._key else default_key_path()

    @cached_property
    def signer(self) -> CryptoSigner:
        """The signing key, read on first use."""
        from worldtune.registry.signing.keys import load_key

        return load_key(self.key)

    def adapters(self, labels: Mapping[str, str] | None = None) -> list[AdapterSummary]:
        """Return a summary of every adapter with these labels: newest release, channels, labels."""
        from worldtune.registry.releases.listing import list_adapters

        with self.log.view() as state:
            summaries = list_adapters(state)
        wanted = (labels or {}).items()
        return [adapter for adapter in summaries if all(adapter.labels.get(key) == value for key, value in wanted)]

    def add(
        self,
        name: str,
        source: TrainingRun | str | Path,
        *,
        calibration: str | Path | None = None,
        parent: str | None = None,
        labels: Mapping[str, str] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Event[ReleaseAdded]:
        """Make the adapter of a run or folder the next release of `name`; identical bytes are the same release.

        `calibration` is the camera calibration file that the adapter was trained under, `parent` the release that it
        was trained from. `tell` receives what could not be checked (default: log it).
        """
        from worldtune.registry.releases.add import ReleaseMetadata, add_release, digest_calibration

        metadata = ReleaseMetadata(digest_calibration(Path(calibration)) if calibration else None, parent, labels or {})
        folder = Path(source) if isinstance(source, str | Path) else source.folder
        return add_release(self.log, self.signer, name, folder, metadata, tell or logger.warning)

    def label(self, name: str, labels: Mapping[str, str]) -> Event[Labeled]:
        """Label an adapter; an empty value removes the label."""
        from worldtune.registry.releases.listing import update_labels

        return update_labels(self.log, self.signer, name, dict(labels))

    def evaluate(self, release: str, report: str | Path, *, expires: str | None = "90d") -> Event[ReleaseEvaluated]:
        """Attach an evaluation report to a release whose weights, card and base are the evaluated ones.

        `expires` is how long the evaluation counts: 90d, 12w, 8h.
        """
        from worldtune.registry.clock import parse_duration
        from worldtune.registry.governance.evidence import DEFAULT_VALIDITY, attach_evaluation

        return attach_evaluation(
            self.log, self.signer, release, Path(report), parse_duration(expires) if expires else DEFAULT_VALIDITY
        )

    def approve(
        self, release: str, channel: str, reason: str, *, expires: str | None = "180d"
    ) -> Event[ReleaseApproved]:
        """Approve a release for a channel. Nobody can approve their own release."""
        from worldtune.registry.clock import parse_duration
        from worldtune.registry.governance.approval import DEFAULT_VALIDITY, approve

        return approve(
            self.log, self.signer, release, channel, reason, parse_duration(expires) if expires else DEFAULT_VALIDITY
        )

    def withdraw(self, release: str, channel: str, reason: str) -> Event[ApprovalWithdrawn]:
        """Withdraw your approval."""
        from worldtune.registry.governance.approval import withdraw_approval

        return withdraw_approval(self.log, self.signer, release, channel, reason)

    def promote(
        self, release: str, channel: str, *, generation: int | None = None, glass: BreakGlass | None = None
    ) -> Event[ChannelUpdated]:
        """Point a channel to a release, if the policy allows it: evidence, approvals, nothing stale or revoked.

        `generation` is the channel's expected generation; raise BusyError if it has another. `glass` is the reason and
        duration of an administrator who promotes without evidence and approval.
        """
        from worldtune.registry.governance.promotion import promote

        return promote(self.log, self.signer, release, channel, generation, glass)

    def rollback(
        self, channel: str, reason: str, *, to: int | None = None, generation: int | None = None
    ) -> tuple[Event[ChannelUpdated], ReleaseStatus]:
        """Point NAME@CHANNEL back to an earlier release that is still approved. Return the event and its status."""
        from worldtune.registry.governance.promotion import rollback

        return rollback(self.log, self.signer, channel, reason, to, generation)

    def revoke(self, release: str, reason: str) -> Event[ReleaseRevoked]:
        """Block a release from use, whichever channel points to it."""
        from worldtune.registry.governance.approval import revoke_release

        return revoke_release(self.log, self.signer, release, reason)

    def revoke_base(self, digest: str, reason: str) -> Event[BaseRevoked]:
        """Block every release on the base with this digest, including later ones."""
        from worldtune.registry.governance.approval import revoke_base

        return revoke_base(self.log, self.signer, digest, reason)

    def derive(self, kind: str, path: str | Path, sources: Iterable[str | Path] = ()) -> Event[ArtifactDerived]:
        """Record that episodes, a dataset or a policy at `path` was made with releases or with data made from them.

        Without sources, they are the releases of the adapters that the data states: dreams and their exports do.
        """
        from worldtune.registry.releases.lineage import digest_content, record_derivation
        from worldtune.registry.releases.made_with import find_sources

        references = tuple(
            digest_content(Path(source)) if "@" not in str(source) and Path(source).exists() else str(source)
            for source in sources
        )
        references = references or find_sources(self.log, Path(path))
        return record_derivation(self.log, self.signer, kind, Path(path).name, digest_content(Path(path)), references)

    def verify(self, progress: Progress | None = None) -> Verification:
        """Verify everything from the first event: signatures, rules, bytes. Return the problems in `.faults`."""
        from worldtune.registry.verify import verify

        advance = stage(progress or silent, "verify")
        return verify(self.log, advance, advance)
