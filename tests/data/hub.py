"""A local Hugging Face Hub with one dataset repository: its API's answers, and a log of the files it delivered."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

from support.loopback import Desk, listening


@dataclass
class Hub:
    """The state of the Hub: `revisions` are folders, each its own commit; `fetched` lists the delivered files.

    The first download of a file in `broken` stops in the middle; afterwards the Hub fails, or delivers the rest if the
    file is in `mended` too. Without `listing`, the Hub does not list its files.
    """

    repo: str
    revisions: dict[str, Path]
    address: str = ""
    fetched: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    mended: set[str] = field(default_factory=set)
    listing: bool = True

    def commit(self, revision: str) -> str | None:
        """Return the commit of a revision, or the commit itself if its hash is given."""
        commits = {name: hashlib.sha1(name.encode()).hexdigest() for name in self.revisions}
        return commits.get(revision, revision if revision in commits.values() else None)

    def folder(self, commit: str) -> Path:
        return next(folder for name, folder in self.revisions.items() if self.commit(name) == commit)


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve the Hub at `hub.address`."""

    class Own(_Desk):
        at = hub

    with listening(Own) as hub.address:
        yield hub


class _Desk(Desk):
    at: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api, files = f"/api/datasets/{self.at.repo}", f"/datasets/{self.at.repo}/resolve/"
        if path == api or path.startswith(f"{api}/"):
            self._api(path.removeprefix(api).strip("/"))
        elif path.startswith(files):
            revision, _, name = path.removeprefix(files).partition("/")
            self._file(revision, name)
        else:
            self._refuse(401, "RepoNotFound")  # also the Hub's answer for a private repository

    do_HEAD = do_GET

    def _api(self, rest: str) -> None:
        kind, _, revision = rest.partition("/")
        commit = self.at.commit(revision or "main")
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        folder = self.at.folder(commit)
        if kind == "tree" and not self.at.listing:
            return self._refuse(403, "")
        if kind == "tree":
            answer: object = [
                {"type": "file", "path": name, "size": (folder / name).stat().st_size, "oid": _etag(folder / name)}
                for name in files_in(folder)
            ]
        else:
            siblings = [{"rfilename": name} for name in files_in(folder)]
            answer = {"id": self.at.repo, "sha": commit, "siblings": siblings}
        self.answer(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, revision: str, name: str) -> None:
        commit = self.at.commit(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        file = self.at.folder(commit) / name
        if not file.is_file():
            return self._refuse(404, "EntryNotFound")
        data, headers = file.read_bytes(), {"X-Repo-Commit": commit, "ETag": f'"{_etag(file)}"'}
        if self.command == "HEAD":
            return self.answer(200, data, headers)
        begun = name in self.at.fetched
        self.at.fetched.append(name)
        if name in self.at.broken and not begun:
            self.close_connection = True
            return self.answer(200, data, headers, len(data) // 2)
        if name in self.at.broken - self.at.mended:
            return self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, "")
        start = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.answer(206 if start else 200, data[start:], headers)

    def _refuse(self, status: int, code: str) -> None:
        self.answer(status, b"", {"X-Error-Code": code} if code else {})


def _etag(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()
