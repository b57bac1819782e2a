"""A package index on loopback, pip's and npm's, that breaks off or waits where a test wants it to."""

import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

FILM = np.random.default_rng(0).bytes(700_000)  # does not compress: the archive is as large
SPINE = bytes(3_000_000)  # compresses to nothing: the archive is small, the file is not
WHEEL, SDIST = "made_up-1.0-py3-none-any.whl", "made_up-1.0.tar.gz"


class Index(ThreadingHTTPServer):
    """A package index (PEP 503) with two archives; ``cut`` and ``gate`` make it break off or wait in the middle."""

    def __init__(self, archives: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Page)
        self.archives, self.ranges = archives, True
        self.cut, self.gate = 0, threading.Event()  # how many downloads are still to be cut; whether they may go on
        self.gate.set()
        self.seen: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/simple"

    def downloads(self) -> list[str | None]:
        """The Range of every download that was asked for."""
        return [asked for path, asked in self.seen if path.startswith("/files/")]


class Page(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.seen.append((self.path, asked))
        name = self.path.rpartition("/")[2]
        if self.path == "/simple/made-up/":
            links = "".join(f'<a href="../../files/{name}#sha256=0">{name}</a>' for name in self.server.archives)
            return self.answer(200, f"<!DOCTYPE html><html><body>{links}</body></html>".encode())
        if self.path == "/made-up":
            url = self.server.url.replace("/simple", "/files/")
            of_npm = [name for name in self.server.archives if name.endswith(".tgz")]
            versions = {
                name[8:-4]: {"name": "made-up", "version": name[8:-4], "dist": {"tarball": url + name}}
                for name in of_npm
            }
            return self.answer(200, json.dumps({"name": "made-up", "versions": versions, "dist-tags": {}}).encode())
        if self.path.startswith("/files/") and name in self.server.archives:
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
            return self.answer(206 if start else 200, self.server.archives[name][start:], slowly=True)
        self.answer(404, b"no such page")

    def answer(self, status: int, body: bytes, slowly: bool = False):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if slowly:
            half = len(body) // 2
            self.wfile.write(body[:half])
            self.wfile.flush()
            self.server.gate.wait(60)
            body = body[half:]
            if self.server.cut:
                self.server.cut -= 1
                return
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("made_up/film.dcm", FILM)
        archive.writestr("made_up/spine.nii.gz", SPINE)
        archive.writestr("../../outside.txt", b"must not leave the cache")
    return buffer.getvalue()


def sdist(folder: str = "made_up-1.0") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"a/1": b"one", "a/2": b"two", "b.nrrd": b"three"}.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo(f"{folder}/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    return buffer.getvalue()
