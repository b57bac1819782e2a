"""Start one server, and end it when whoever started us is gone.

Run as a script on the standard library alone: ``python -I -S supervisor.py ORDER``, the order being JSON. The starter
holds the other end of our standard input. Closing it asks us to stop; and as the system closes it for a process that is
killed, the server never outlives its starter. (Linux can send a signal when a parent dies, but ties it to the *thread*
that started the child, and only Linux can.) We run in a session of our own, out of reach of a kernel's interrupt key.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
POLL_S = 0.25  # how soon the server's own death is noticed; the starter's is noticed at once
LAST_LINES = 6  # of the server's log, for the message when it ended on its own
GRACE_S = 10.0  # what a server that keeps its store is given to end in good order


def say(**message: object) -> None:
    """Tell the starter one thing, as a line of JSON, if it is still there."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(message).encode() + b"\n")


def watch(gone: threading.Event) -> None:
    """Set ``gone`` when the starter's end of the pipe is closed."""
    while os.read(0, 4096):  # not sys.stdin, whose lock this thread would hold when the interpreter ends
        pass
    gone.set()


def die_with_supervisor() -> None:
    """Where the system offers it (Linux), let even the supervisor's own violent end take the server along."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(order: dict[str, Any]) -> int:
    """Run ``order["command"]`` until it ends or the starter does; return its exit status."""
    gone = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: gone.set())
    starter = os.getppid()
    account = dict(zip(("user", "group"), order["account"] or (), strict=False))
    if account:
        account["extra_groups"] = []
    with Path(order["log"]).open("wb") as log:
        server = subprocess.Popen(
            order["command"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd="/",
            preexec_fn=die_with_supervisor if sys.platform == "linux" else None,
            **account,
        )
    say(pid=server.pid)
    threading.Thread(target=watch, args=(gone,), daemon=True).start()
    # A forked worker of the starter may hold the pipe open after the starter's death: hence the look at our parent.
    while server.poll() is None and os.getppid() == starter and not gone.wait(POLL_S):
        pass
    if order["keep"] and server.poll() is None:
        server.terminate()
        try:
            return server.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            pass
    server.kill()  # at once where the store is thrown away anyhow
    return server.wait()


def main(order: dict[str, Any]) -> int:
    """Take the folder for ourselves, run the server, and leave nothing behind that is not meant to stay."""
    folder = Path(order["folder"])
    lock = sqlite3.connect(folder / "in-use", timeout=0, isolation_level=None)  # the portable lock of the library
    try:
        lock.execute("BEGIN EXCLUSIVE")
        return run(order)
    except sqlite3.Error as error:
        say(error=f"{folder} is in use by another archive ({error})")
        return 1
    except OSError as error:
        say(error=str(error))
        return 1
    finally:
        with contextlib.suppress(OSError):
            say(log="\n".join(Path(order["log"]).read_text(errors="replace").splitlines()[-LAST_LINES:]))
        lock.close()
        for path in order["remove"]:
            Path(path).unlink(missing_ok=True)
        if not order["keep"]:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
