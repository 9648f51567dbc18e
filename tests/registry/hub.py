"""A local Hugging Face Hub of model repositories: it accepts commits and returns files at a commit."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from support.loopback import Desk, listening


@dataclass
class Hub:
    """The files of each commit of each repository, in order. If `refuses` is set, every request fails with it."""

    address: str = ""
    commits: dict[str, list[tuple[str, dict[str, bytes]]]] = field(default_factory=dict)
    refuses: int | None = None

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        before = self.commits[repo][-1][1] if self.commits[repo] else {}
        oid = hashlib.sha1(f"{repo} {len(self.commits[repo])}".encode()).hexdigest()
        self.commits[repo].append((oid, before | files))
        return oid

    def files(self, repo: str, revision: str) -> dict[str, bytes] | None:
        commits = self.commits.get(repo, [])
        if revision == "main" and commits:
            return commits[-1][1]
        return next((files for oid, files in commits if oid == revision), None)


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()

    class Own(_Desk):
        at = hub

    with listening(Own) as hub.address:
        yield hub


class _Desk(Desk):
    at: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        if self.at.refuses:
            return self._json({"error": "refused"}, self.at.refuses)
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if path == "/api/repos/create":
            request = json.loads(body)
            owner = request.get("organization") or "me"
            repo = f"{owner}/{request['name']}"
            self.at.commits.setdefault(repo, [])
            return self._json({"url": f"{self.at.address}/{repo}"})
        repo, _, rest = path.removeprefix("/api/models/").partition("/preupload/")
        if rest:
            files = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False}
                for file in json.loads(body)["files"]
            ]
            return self._json({"files": files})
        repo, _, _ = path.removeprefix("/api/models/").partition("/commit/")
        lines = [json.loads(line) for line in body.splitlines()]
        files_sent = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
        }
        oid = self.at.commit(repo, files_sent)
        self._json({"commitUrl": f"{self.at.address}/{repo}/commit/{oid}", "commitOid": oid, "success": True})

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/"):
            repo, _, rest = path.removeprefix("/api/models/").partition("/revision/")
            kind = "tree" if "/tree/" in path else "revision"
            if kind == "tree":
                repo, _, rest = path.removeprefix("/api/models/").partition("/tree/")
            files = self.at.files(repo, rest or "main")
            if files is None:
                return self._json({"error": "no"}, 404, {"X-Error-Code": "RevisionNotFound"})
            if kind == "tree":
                return self._json(
                    [
                        {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                        for name, data in files.items()
                    ]
                )
            return self._json({"id": repo, "sha": rest, "siblings": [{"rfilename": name} for name in files]})
        repo, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        found = (self.at.files(repo, revision) or {}).get(name)
        if found is None:
            return self._json({"error": "no"}, 404, {"X-Error-Code": "EntryNotFound"})
        self.answer(200, found, {"X-Repo-Commit": revision, "ETag": f'"{_etag(found)}"'})

    do_HEAD = do_GET

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"} | (headers or {}))


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
