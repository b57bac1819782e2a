"""A server that lives no longer than we do: its folder, its account, its ports, its supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import ArchiveUnavailable

_PORT_TRIES = 5  # a port can be taken between choosing it and binding it
READY_S = 2.0  # what one question "are you there?" may take; it is asked again
_STOP_S = 20.0


class Password(str):
    """A password that does not show itself: not in a traceback with its variables, not in a configuration's repr."""

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True)
class Wish:
    """What was asked for, of an archive that is to be started; see :func:`radkit.pacs.open_archive`."""

    folder: str | Path | None
    ae_title: str
    peers: Mapping[str, tuple[str, int]]
    dicom_port: int
    stable_age: int
    timeout: float
    tls: bool


@dataclass(frozen=True)
class Home:
    """Where a server lives: ``store`` is its own; its log, lock and configuration lie beside it in ``folder``."""

    folder: Path
    kind: str
    keep: bool
    account: tuple[int, int] | None  # user and group to run as, where we are root

    @property
    def store(self) -> Path:
        """The folder that holds what was sent."""
        return self.folder / self.kind

    @property
    def certificate(self) -> Path:
        """What the server shows by TLS."""
        return self.folder / "certificate.pem"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / f"{self.kind}.log"

    def secret(self, content: object = None) -> Path:
        """Write ``content``, if any, as JSON to a new file that only the server's account can read."""
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=f"{self.kind}-", suffix=".json")
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps(content) if content else "")
        if self.account:
            os.chown(name, *self.account)
        return Path(name)


def _unprivileged() -> tuple[int, int] | None:
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    for name in ("orthanc", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)[2:4]
    return 65534, 65534


def _can_enter(folder: Path, uid: int) -> bool:
    modes = [path.stat() for path in (folder, *folder.parents)]
    return all(mode.st_mode & stat.S_IXOTH or (mode.st_uid == uid and mode.st_mode & stat.S_IXUSR) for mode in modes)


def _fresh_folder(account: tuple[int, int] | None) -> Path:
    parent, usable = Path.cwd() / ".radkit" / "archive", False
    with contextlib.suppress(OSError):
        parent.mkdir(parents=True, exist_ok=True)
        usable = os.access(parent, os.W_OK) and (account is None or _can_enter(parent, account[0]))
    folder = Path(tempfile.mkdtemp(dir=parent if usable else None, prefix="radkit-"))
    folder.chmod(0o711)  # the server's account may pass through, to the store that is its own
    return folder


def make_home(folder: str | Path | None, kind: str) -> Home:
    """Make the folder of a server: ``folder`` itself, kept; or a new one that goes when the server stops.

    It is no use, and ArchiveUnavailable says so, where the account that the server runs as cannot get there.
    """
    account = _unprivileged()
    try:
        base = _fresh_folder(account) if folder is None else Path(folder).expanduser().resolve()
        home = Home(base, kind, folder is not None, account)
        home.store.mkdir(parents=True, exist_ok=True, mode=0o700)
        owner = home.store.stat()
        if account and owner.st_uid == 0:
            os.chown(home.store, *account)
        elif account:  # a store that somebody else began, perhaps as an ordinary user: it stays theirs
            home = Home(base, kind, home.keep, (owner.st_uid, owner.st_gid))
        home.secret().unlink()
    except OSError as error:
        where = f"{error.filename or folder} is none ({error.strerror})"
        raise ArchiveUnavailable(f"A folder to write to is needed, and {where}: open_archive(folder=...).") from error
    if home.account and not _can_enter(base, home.account[0]):
        who = f"The archive runs as user {home.account[0]}, not as root"
        raise ArchiveUnavailable(f"{who}, and cannot enter {base}: name another folder, open_archive(folder=...).")
    return home


class Server:
    """A running server and its supervisor. ``pid`` is the server's, ``supervisor`` the supervisor's."""

    ports: tuple[int, ...]
    again: Callable[[], Server]  # starts it again at the same ports

    def __init__(
        self, command: list[str], home: Home, env: Mapping[str, str], *, secret: Path | None = None, drop: bool = True
    ):
        self.home, self._secret = home, secret
        log, remove = str(home.log), [str(secret)] if secret else []
        order: dict[str, Any] = {"command": command, "folder": str(home.folder), "log": log, "remove": remove}
        order |= {"account": home.account if drop else None, "keep": home.keep}
        script = str(Path(__file__).with_name("supervisor.py"))
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", script, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(env),
            start_new_session=True,
        )
        self._said: list[bytes] = []
        self.stop = weakref.finalize(self, _stop, self._process, self._said, home, os.getpid())
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer.startswith(b'{"pid"'):
            self.stop()
            reason = json.loads(answer)["error"] if answer.startswith(b"{") else answer.decode(errors="replace")
            raise ArchiveUnavailable(f"The {home.kind} archive could not be started: {reason.strip()}.")
        self.pid: int = json.loads(answer)["pid"]
        self.supervisor = self._process.pid

    def alive(self, patience: float = 0.0) -> bool:
        """Whether the server still runs; its end may take ``patience`` seconds to be noticed."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return True
        return False

    def last_words(self) -> str:
        """Return the end of the log of a server that has been stopped."""
        return next((json.loads(line)["log"] for line in self._said if line.startswith(b'{"log"')), "")


def _stop(process: subprocess.Popen[bytes], said: list[bytes], home: Home, owner: int) -> None:
    if os.getpid() != owner:  # a fork of ours that ends: the server goes on
        return
    assert process.stdin and process.stdout
    process.stdin.close()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    said += process.stdout.readlines()
    process.stdout.close()
    if not home.keep:  # the supervisor has done this, unless it was killed
        shutil.rmtree(home.folder, ignore_errors=True)


def _free_ports(wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Fill the zeros of ``wanted`` with ports that nobody listens on, on any interface."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in wanted]
        for one in sockets:
            one.bind(("", 0))
        return tuple(port or one.getsockname()[1] for port, one in zip(wanted, sockets, strict=True))


def _taken(port: int) -> bool:
    try:
        socket.create_server(("", port)).close()  # where the system can, past connections that are just ending
    except OSError:
        return True
    return False


def launch(
    start: Callable[[tuple[int, ...]], Server],
    ready: Callable[[Server], bool],
    *,
    ports: tuple[int, ...],
    timeout: float,
) -> Server:
    """Start a server on ``ports`` (0: any free one) and wait until it answers.

    ArchiveUnavailable says that a port that was asked for is taken, that the server ended (with its last words), or
    that it did not answer within ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    for attempt in range(1, _PORT_TRIES + 1):
        chosen = _free_ports(ports)
        if asked := [port for port in ports if port and _taken(port)]:
            raise ArchiveUnavailable(f"Port {asked[0]} is in use by another program: leave it out, one is found.")
        server = start(chosen)
        server.ports, server.again = chosen, partial(launch, start, ready, ports=chosen, timeout=timeout)
        try:
            while server.alive() and time.monotonic() < deadline:
                if ready(server) and server.alive():
                    if server._secret:
                        server._secret.unlink(missing_ok=True)  # only the start needed it
                    return server
                time.sleep(0.03)
        except BaseException:  # an interrupt, whose traceback a notebook keeps, and the server with it
            server.stop()
            raise
        how = f"did not answer within {timeout:g} s" if server.alive() else "ended at its start"
        server.stop()
        if attempt == _PORT_TRIES or not any(map(_taken, chosen)):  # else another program was quicker: try other ports
            break
    raise ArchiveUnavailable(f"The {server.home.kind} archive {how}. The end of its log:\n{server.last_words()}")
