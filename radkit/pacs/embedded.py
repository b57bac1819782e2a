"""The embedded archive behind the interface: a child process on pynetdicom that speaks DIMSE and nothing else."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from .._optional import optional
from . import dimse
from .archive import CALLER
from .remote import DimseArchive
from .server import Server, Wish, launch, make_home
from .tls import context, own_files

QUOTA = 256 * 2**30  # bytes that it takes in all, from whomever
READY = "listening"  # what the server says in its log as soon as it is


def start(wish: Wish) -> DimseArchive:
    """Start the embedded archive; see :func:`radkit.pacs.open_archive`."""
    optional("pynetdicom")  # a missing one is told here, not in the child's log

    def begin(ports: tuple[int, ...]) -> Server:
        home = make_home(wish.folder, "embedded")
        order: dict[str, Any] = {
            "folder": str(home.store),
            "account": home.account,
            "port": ports[0],
            "ae_title": wish.ae_title,
        }
        order |= {"callers": list(wish.peers), "quota": QUOTA, "tls": [*map(str, own_files(home))] if wish.tls else []}
        # The server gives up root by itself, once Python has read what another account may not be able to read.
        return Server([sys.executable, "-m", "radkit.pacs.scp", json.dumps(order)], home, os.environ, drop=False)

    def ready(server: Server) -> bool:  # its own word: at its port another archive may answer that was quicker
        try:
            return READY in server.home.log.read_text(errors="replace").split()
        except OSError:  # it has ended, and taken its folder along
            return False

    server = launch(begin, ready, ports=(wish.dicom_port,), timeout=wish.timeout)
    trusted = context(server.home.certificate if wish.tls else None)
    peer = dimse.Peer(wish.ae_title, "127.0.0.1", server.ports[0], CALLER, wish.timeout, trusted)
    archive = DimseArchive(peer, stable_age=wish.stable_age)
    archive.kind, archive.server = "embedded", server
    archive.certificate = server.home.certificate if wish.tls else None
    return archive
