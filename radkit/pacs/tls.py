"""TLS for an archive: a key and a certificate of its own, and whose certificates are believed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from ..errors import ArchiveUnavailable
from .server import Home

Tls: TypeAlias = "bool | str | Path | tuple[str | Path, str | Path, str | Path]"


def own_files(home: Home) -> tuple[Path, Path]:
    """Return the files of the archive's certificate, and of its key with the certificate; made if they are not there.

    The certificate speaks for loopback and for nothing else, and nobody but the archive has signed it.
    """
    certificate, both = home.certificate, home.folder / "key.pem"
    if certificate.is_file() and both.is_file():
        return certificate, both
    if not (openssl := shutil.which("openssl")):
        if not home.keep:
            shutil.rmtree(home.folder, ignore_errors=True)
        raise ArchiveUnavailable(
            "TLS needs the program openssl: sudo apt-get install openssl, or conda install openssl."
        )
    key = home.secret()
    order = f"req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=radkit -keyout {key.name} -out {certificate.name}"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    subprocess.run([openssl, *order.split(), *names], cwd=home.folder, check=True, capture_output=True)
    with key.open("a") as file:
        file.write(certificate.read_text())
    return certificate, key.replace(both)


def front(home: Home, behind: int) -> tuple[int, Callable[[], object]]:
    """Answer HTTPS on loopback for the HTTP server ``behind``; return the port, and what ends it.

    Debian's Orthanc 1.10 dies at its first HTTPS connection (its civetweb does not fit OpenSSL 3): hence this.
    """
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(*own_files(home))
    listener, loop, ended = socket.create_server(("127.0.0.1", 0)), asyncio.new_event_loop(), asyncio.Event()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            while data := await reader.read(2**18):
                writer.write(data)
                await writer.drain()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            inner, outer = await asyncio.open_connection("127.0.0.1", behind)
            await asyncio.gather(pump(reader, outer), pump(inner, writer))

    async def serve() -> None:
        loop.set_exception_handler(lambda *_: None)  # a stranger's broken handshake is not the learner's to read
        async with await asyncio.start_server(answer, sock=listener, ssl=made):
            await ended.wait()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0.05)  # time for the connections to close

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(serve())

    threading.Thread(target=run, daemon=True).start()  # as a notebook's own has a loop already
    return listener.getsockname()[1], lambda: loop.is_closed() or loop.call_soon_threadsafe(ended.set)


def context(tls: Tls | None) -> ssl.SSLContext | None:
    """Return what a client calls with: which certificates it believes, and its own where the peer asks for one."""
    if not tls:
        return None
    files = [str(file) for file in (tls if isinstance(tls, tuple) else () if tls is True else (tls,))]
    try:
        made = ssl.create_default_context(cafile=files[0] if files else None)
        if files[1:]:
            made.load_cert_chain(*files[1:3])
    except OSError as error:
        raise ArchiveUnavailable(
            f"Expected tls= to name a file in PEM, of the certificates to believe, or three: those, ours, its key; "
            f"got {files} ({error.strerror or error})."
        ) from error
    return made
