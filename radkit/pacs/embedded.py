"""The embedded archive behind the interface: a child process on pynetdicom that speaks DIMSE and nothing else."""

from __future__ import annotations

import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydicom import Dataset

from .._optional import optional
from . import dimse
from .archive import CALLER, Archive, Keep, Level, incomplete
from .instances import Instance, instances
from .server import READY_S, Server, launch, make_home
from .tls import context, own_files

QUOTA = 256 * 2**30  # bytes that it takes in all, from whomever
_AT_ONCE = 900  # instances named in one C-GET


def start(
    *,
    folder: str | Path | None,
    ae_title: str,
    peers: Mapping[str, tuple[str, int]],
    dicom_port: int,
    stable_age: int,
    timeout: float,
    tls: bool = False,
) -> EmbeddedArchive:
    """Start the embedded archive; see :func:`radkit.pacs.open_archive`."""
    optional("pynetdicom")  # a missing one is told here, not in the child's log

    files: list[Path] = []  # of the certificate, and of its key

    def begin(ports: tuple[int, ...]) -> Server:
        home = make_home(folder, "embedded")
        files[:] = own_files(home) if tls else ()
        order = {
            "folder": str(home.store),
            "account": home.account,
            "port": ports[0],
            "ae_title": ae_title,
            "callers": list(peers),
            "quota": QUOTA,
            "tls": [str(file) for file in files],
        }
        # The server gives up root by itself, once Python has read what another account may not be able to read.
        return Server([sys.executable, "-m", "radkit.pacs.scp", json.dumps(order)], home, os.environ, drop=False)

    def ready(ports: tuple[int, ...]) -> bool:
        try:
            socket.create_connection(("127.0.0.1", ports[0]), READY_S).close()
        except OSError:
            return False
        return dimse.echo(peer(ports[0], READY_S))

    def peer(port: int, seconds: float) -> dimse.Peer:
        return dimse.Peer(ae_title, "127.0.0.1", port, CALLER, seconds, context(files[0] if files else None))

    def up(wanted: tuple[int, ...]) -> tuple[Server, tuple[int, ...]]:
        return launch(begin, ready, ports=wanted, timeout=timeout)

    server, ports = up((dicom_port,))
    archive = EmbeddedArchive(server, peer(ports[0], timeout), stable_age=stable_age)
    archive.certificate, archive._again = (files[0] if files else None), lambda: up(ports)[0]
    return archive


class EmbeddedArchive(Archive):
    """An archive that is always there. It speaks DIMSE only (C-ECHO, C-STORE, C-FIND, C-GET): no DICOMweb, no REST."""

    kind = "embedded"

    def __init__(self, server: Server, peer: dimse.Peer, *, stable_age: int):
        self.server, self.stable_age, self._peer = server, stable_age, peer
        self.ae_title, self.dicom_port = peer.ae_title, peer.port
        self._seen: dict[str, tuple[int, float]] = {}

    def close(self) -> None:
        """Stop the archive."""
        if self.server:
            self.server.stop()

    def _store(self, items: list[Instance], tick: Callable[[], object]) -> dict[str, str]:
        return dimse.store(self._peer, items, tick)

    def _find(self, level: Level, query: Mapping[str, str]) -> list[Dataset]:
        return dimse.find(self._peer, level, query)

    def _locate(self, query: Mapping[str, str]) -> dict[str, Any]:
        return {
            str(one.SOPInstanceUID): (str(one.SOPClassUID), str(one.AvailableTransferSyntaxUID))
            for one in self._find("instance", query)
        }

    def _retrieve(self, located: dict[str, Any], keep: Keep) -> str:
        uids, reason = list(located), ""
        while uids and not reason:  # a list of UIDs must fit into 64 KB
            some, uids = uids[:_AT_ONCE], uids[_AT_ONCE:]
            query = {"SOPInstanceUID": "\\".join(some)}
            reason = dimse.get(self._peer, {uid: located[uid] for uid in some}, query, keep)
        return reason

    def _state(self, study: str) -> tuple[int, bool]:
        found = self._find("study", {"StudyInstanceUID": study})
        count = sum(int(one.NumberOfStudyRelatedInstances) for one in found)
        before, since = self._seen.get(study, (-1, 0.0))
        if count != before:
            since = time.monotonic()
            self._seen[study] = (count, since)
        return count, bool(count) and time.monotonic() - since >= self.stable_age

    def forward(self, study: str, to: Archive | tuple[str, str, int], *, timeout: float = 60.0) -> int:
        """Get a study and send it on by C-STORE; see :meth:`Archive.forward`."""
        if isinstance(to, Archive):
            to = (to.ae_title, to.host, to.dicom_port or 0)
        peer = dimse.Peer(to[0], to[1], to[2], self.ae_title, timeout)
        with tempfile.TemporaryDirectory(prefix="radkit-") as folder:
            self.fetch(study=study, folder=folder, progress=False)
            items = instances(folder)
            failed = dimse.store(peer, items, lambda: None, deadline=time.monotonic() + timeout)
        if failed:
            raise incomplete(f"arrived at {peer.ae_title}", len(items), failed)
        return len(items)
