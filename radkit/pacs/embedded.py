"""The embedded archive behind the interface: a child process on pynetdicom that speaks DIMSE and nothing else."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from .._optional import optional
from . import dimse
from .archive import CALLER
from .remote import DimseArchive
from .server import READY_S, Server, launch, make_home
from .tls import context, own_files

QUOTA = 256 * 2**30  # bytes that it takes in all, from whomever


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


class EmbeddedArchive(DimseArchive):
    """An archive that is always there. It speaks DIMSE only (C-ECHO, C-STORE, C-FIND, C-GET): no DICOMweb, no REST."""

    kind = "embedded"

    def __init__(self, server: Server, peer: dimse.Peer, *, stable_age: int):
        super().__init__(peer, stable_age=stable_age)
        self.server, self._caller = server, peer.ae_title

    def close(self) -> None:
        """Stop the archive."""
        if self.server:
            self.server.stop()
