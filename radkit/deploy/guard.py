"""Run a command that ends, with all its children, when whoever started it gives up or dies; then clean up.

A script without radkit in it: ``python guard.py ROOM CLEAN COMMAND...``. Whoever starts it holds its standard input
open; by whatever signal he ends, it closes. CLEAN is a shell command for every end, ROOM a folder to remove if nobody
is left to do it. The exit status is the command's, as a shell tells it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading

room, clean, *command = sys.argv[1:]
given_up = threading.Event()
child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # a group that is killed as one


def kill() -> None:
    """Kill the command and all its children."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(child.pid)], capture_output=True)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)


def watch() -> None:
    """Wait until standard input closes, and kill."""
    os.read(0, 1)
    given_up.set()
    kill()


threading.Thread(target=watch, daemon=True).start()
signal.signal(signal.SIGTERM, lambda *_: child.terminate())
status = child.wait()
kill()
if clean:
    with contextlib.suppress(subprocess.TimeoutExpired):  # a container engine may hang: whoever waits for us waits on
        subprocess.run(clean, shell=True, timeout=60)
if given_up.is_set() and room:
    shutil.rmtree(room, ignore_errors=True)
os._exit(status if status >= 0 else 128 - status)
