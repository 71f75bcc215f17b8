"""A Hub on this machine: the part of its protocol that schedulers and pipelines meet.

Repositories live in memory, as lists of commits. The real huggingface_hub talks to it, with its
own cache, headers and errors.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]
#: Files of these endings are kept "in LFS": answered with a redirect to another host.
LARGE = (".safetensors", ".bin")


@dataclass
class Repository:
    """Files of every commit, and which commit each branch is at."""

    private: bool = False
    gated: bool = False
    owner: str = "ann"
    commits: dict[str, Files] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], message: str = "", ref: str = "main") -> str:
        """Put files on top of a branch; the commit's number."""
        now = self.commits.get(self.refs.get(ref, self.refs.get("main", "")), {}) | dict(files)
        text = f"{len(self.commits)}{ref}{message}{sorted(now.items())}"
        sha = hashlib.sha1(text.encode()).hexdigest()
        self.commits[sha], self.messages[sha], self.refs[ref] = now, message, sha
        return sha


class Hub(ThreadingHTTPServer):
    """The server and what it knows."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories: dict[str, Repository] = {}
        self.renamed: dict[str, str] = {}
        self.tokens = {"hf_ann": "ann", "hf_bob": "bob"}
        self.requests: list[tuple[str, str]] = []
        self.broken = False

    @property
    def url(self) -> str:
        """Address for ``HF_ENDPOINT``."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def storage(self) -> str:
        """The same server under another name: where large files are, without a token."""
        return f"http://localhost:{self.server_address[1]}"

    def add(self, name: str, files: Mapping[str, bytes | str], **traits: Any) -> Repository:  # noqa: ANN401
        """A new repository with a first commit."""
        repository = self.repositories[name] = Repository(**traits)
        repository.commit({k: v.encode() if isinstance(v, str) else v for k, v in files.items()})
        return repository


class Answer(BaseHTTPRequestHandler):
    """One request."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:  # noqa: N802
        self.route()

    def do_GET(self) -> None:  # noqa: N802
        self.route()

    def do_POST(self) -> None:  # noqa: N802
        self.route()

    def route(self) -> None:
        """Read the request, find who asks and what, answer."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        path, self.query = address.path, address.query
        self.server.requests.append((self.command, path))
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.user = self.server.tokens.get(bearer)
        if self.server.broken:
            return self.refuse(503, "", "down")
        if bearer and self.user is None and not path.startswith("/storage/"):
            return self.refuse(401, "", "Invalid credentials in Authorization header")
        for pattern, answer in (
            (r"/storage/(?P<sha>\w+)", self.storage),
            (r"/api/repos/create", self.create),
            (r"/api/validate-yaml", self.validate),
            (r"/api/models/(?P<name>[^/]+/[^/]+)/preupload/(?P<revision>.+)", self.preupload),
            (r"/api/models/(?P<name>[^/]+/[^/]+)/commit/(?P<revision>.+)", self.commit),
            (r"/api/models/(?P<name>[^/]+/[^/]+)/tree/(?P<revision>[^/]+)", self.tree),
            (r"/api/models/(?P<name>[^/]+/[^/]+)(/revision/(?P<revision>.+))?", self.info),
            (r"/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", self.resolve),
        ):
            found = re.fullmatch(pattern, path)
            if found:
                parts = found.groupdict().items()
                return answer(**{key: part and unquote(part) for key, part in parts})
        self.refuse(404, "EntryNotFound")

    # --- reading ------------------------------------------------------------------------------

    def look_up(self, name: str, revision: str | None, path: str) -> tuple[Repository, str] | None:
        """Repository and commit, or None after an answer that says why not."""
        if name in self.server.renamed:
            new = self.path.replace(name, self.server.renamed[name], 1)
            self.send(b"", 307, {"Location": new})
            return None
        repository = self.server.repositories.get(name)
        if repository is None or (repository.private and self.user != repository.owner):
            self.refuse(401 if self.user is None else 404, "RepoNotFound")
            return None
        if path and repository.gated and self.user != repository.owner:
            self.refuse(401 if self.user is None else 403, "GatedRepo")
            return None
        revision = revision or "main"
        sha = revision if revision in repository.commits else repository.refs.get(revision)
        if sha is None:
            self.refuse(404, "RevisionNotFound")
            return None
        return repository, sha

    def resolve(self, name: str, revision: str, file: str) -> None:
        found = self.look_up(name, revision, file)
        if found is None:
            return
        repository, sha = found
        data = repository.commits[sha].get(file)
        if data is None:
            return self.refuse(404, "EntryNotFound", headers={"X-Repo-Commit": sha})
        etag = blob(data)
        if file.endswith(LARGE):
            etag = hashlib.sha256(data).hexdigest()
            headers = {
                "Location": f"{self.server.storage}/storage/{etag}",
                "X-Repo-Commit": sha,
                "X-Linked-Etag": f'"{etag}"',
                "X-Linked-Size": str(len(data)),
            }
            return self.send(b"", 302, headers)
        self.send(data, 200, {"ETag": f'"{etag}"', "X-Repo-Commit": sha})

    def storage(self, sha: str) -> None:
        if self.headers.get("Authorization"):
            return self.refuse(400, "", "a token left the Hub")
        for repository in self.server.repositories.values():
            for files in repository.commits.values():
                for data in files.values():
                    if hashlib.sha256(data).hexdigest() == sha:
                        return self.send(data)
        self.refuse(404, "EntryNotFound")

    def info(self, name: str, revision: str | None) -> None:
        found = self.look_up(name, revision, "")
        if found is None:
            return
        repository, sha = found
        siblings = [
            {"rfilename": path, "size": len(data), "blobId": blob(data)}
            for path, data in repository.commits[sha].items()
        ]
        self.json(
            {
                "id": name,
                "sha": sha,
                "private": repository.private,
                "gated": "manual" if repository.gated else False,
                "tags": [],
                "siblings": siblings,
            }
        )

    def tree(self, name: str, revision: str) -> None:
        found = self.look_up(name, revision, "")
        if found is None:
            return
        repository, sha = found
        entries = []
        for path, data in repository.commits[sha].items():
            entry = {"type": "file", "path": path, "size": len(data), "oid": blob(data)}
            if path.endswith(LARGE):
                oid = hashlib.sha256(data).hexdigest()
                entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
            entries.append(entry)
        self.json(entries)

    # --- writing ------------------------------------------------------------------------------

    def create(self) -> None:
        asked = json.loads(self.body)
        if self.user is None:
            return self.refuse(401, "", "Invalid username or password.")
        owner = asked["organization"] or self.user
        name = f"{owner}/{asked['name']}"
        if owner != self.user:
            return self.refuse(403, "", f"You don't have the rights to create under {owner}")
        if name in self.server.repositories:
            return self.json({"url": f"{self.server.url}/{name}", "error": "exists"}, 409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.server.repositories[name] = Repository(private=private, owner=owner)
        self.server.repositories[name].commit({".gitattributes": b""}, "initial commit")
        self.json({"url": f"{self.server.url}/{name}"})

    def validate(self) -> None:
        self.json({"errors": [], "warnings": []})

    def preupload(self, name: str, revision: str) -> None:
        if self.look_up(name, revision, "") is None:
            return
        self.json(
            {
                "files": [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(self.body)["files"]
                ]
            }
        )

    def commit(self, name: str, revision: str) -> None:
        found = self.look_up(name, revision, "")
        if found is None:
            return
        repository, _ = found
        proposed = "create_pr=1" in self.query
        if self.user is None or (self.user != repository.owner and not proposed):
            return self.refuse(403, "", "You don't have write access")
        message, files = "", {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            if entry["key"] == "header":
                message = entry["value"]["summary"]
            else:
                assert entry["key"] == "file" and entry["value"]["encoding"] == "base64"
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        number = 1 + sum(ref.startswith("refs/pr/") for ref in repository.refs)
        sha = repository.commit(files, message, f"refs/pr/{number}" if proposed else revision)
        url = f"{self.server.url}/{name}"
        self.json(
            {
                "commitUrl": f"{url}/commit/{sha}",
                "commitOid": sha,
                "pullRequestUrl": f"{url}/discussions/{number}" if proposed else None,
            }
        )

    # --- answering ----------------------------------------------------------------------------

    def refuse(
        self, status: int, code: str, message: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        reasons = {"X-Error-Code": code, "X-Error-Message": message}
        self.send(b"", status, {k: v for k, v in reasons.items() if v} | dict(headers or {}))

    def json(self, value: object, status: int = 200) -> None:
        self.send(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

    def send(
        self, data: bytes, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def blob(data: bytes) -> str:
    """The number by which git knows a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def running() -> Iterator[Hub]:
    """A Hub that answers while the block runs."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()
