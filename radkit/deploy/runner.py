"""Run a MAP: a folder in place, its command as a child process; an image in a locked container."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import DeployError, InputRefused
from .box import Image, find_image, locked_box

MARK = "[radkit] "  # how the application says in its log what it is doing
POLL_S, QUIET_S, LAST_LINES = 0.05, 2.0, 15
INSIDE = re.compile(r"/(etc|opt|var)/holoscan(/|$)")  # a path of the image that is the MAP's own


@dataclass(frozen=True)
class Run:
    """What became of one run of a MAP.

    Attributes
    ----------
    returncode : int
        Exit status of the application.
    seconds : float
        From start to end.
    outputs : list of Path
        The files in the output folder, sorted.
    log : Path
        Everything that the application and its SDK said.
    result : dict
        What result.json holds; empty if the application wrote none.
    """

    returncode: int
    seconds: float
    outputs: list[Path]
    log: Path
    result: dict[str, Any] = field(repr=False)


def run_map(
    map_folder: str | Path | Image,
    input_folder: str | Path,
    output_folder: str | Path,
    *,
    timeout: float = 600,
    progress: bool = True,
    sdk: bool = True,
) -> Run:
    """Run the application of a MAP on a folder of images.

    A folder runs in place, with all that its user may do. An image runs in a container without network, without rights,
    as user 1000, with limits on memory and processes, and can write to its output folder and /tmp alone.

    Parameters
    ----------
    map_folder : path, Image or str
        From `build_map` or `build_image`, or the name of an image.
    input_folder : path
        DICOM files.
    output_folder : path
        New or empty. The log goes beside it, with ``.log`` after its name.
    timeout : float
        Seconds; then the application and whatever it started are killed. 0 is no limit.
    progress : bool
        Say what the application is doing, once it takes more than two seconds.
    sdk : bool
        False runs the same steps without MONAI Deploy's SDK, as it is everywhere where the SDK is not installed.

    Returns
    -------
    Run

    Raises
    ------
    DeployError
        If the folders are not what they should be, the application refuses its input, fails, or takes too long.
    """
    source, output = (Path(path).absolute() for path in (input_folder, output_folder))
    image, wish = find_image(map_folder), {} if sdk else {"RADKIT_WITHOUT_SDK": "1"}
    root = Path(str(map_folder)).absolute()
    if not source.is_dir():
        raise DeployError(f"The input folder {source} is not there.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DeployError(
            f"The output folder {output} is not empty: a run wants a new one, so that nothing is mixed up."
        )
    place = locked_box(image, source, output, wish) if image else _in_place(root, source, output, wish)
    log, start = output.with_name(f"{output.name}.log"), time.monotonic()
    with place as order:
        log.write_bytes(b"")
        status = run_child(log=log, timeout=timeout, title="The application: " * progress, mark=MARK, **order)
    return _outcome(status, time.monotonic() - start, timeout, output, log)


def run_child(
    command: list[str],
    log: Path,
    *,
    timeout: float = 0,
    title: str = "",
    mark: str = "",
    room: str = "",
    clean: str = "",
    **where: Any,
) -> int | None:
    """Run a command under `guard`, its words in the log; its exit status, None if it had to be killed.

    Once that takes more than two seconds, the last line of the log that begins with ``mark`` is shown behind ``title``.
    """
    deadline = time.monotonic() + timeout if timeout else float("inf")
    words = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guard.py")), room, clean, *command]
    shown = partial(tqdm, bar_format="{desc} {elapsed}", delay=QUIET_S, mininterval=0.5, leave=False, file=sys.stdout)
    with log.open("ab") as stream, shown(disable=not title) as bar:
        where |= {"stdin": subprocess.PIPE, "stdout": stream, "stderr": subprocess.STDOUT}
        child = subprocess.Popen(words, start_new_session=True, **where)
        try:
            while child.poll() is None and time.monotonic() < deadline:
                time.sleep(POLL_S)
                if title:
                    said = [line for line in log.read_text(errors="replace").splitlines() if line.startswith(mark)]
                    bar.desc = title + (said[-1].removeprefix(mark)[:60] if said else "starting")
                    bar.update(0)
            return child.returncode
        finally:
            child.communicate()  # closes its standard input, at which it ends


def read_command(root: Path) -> tuple[list[str], dict[str, str], str]:
    """The command, the environment and the version of a MAP folder, the paths of the image led into the folder."""

    def here(path: str) -> str:
        return str(root / path[1:]) if INSIDE.match(path) else path

    try:
        manifest = json.loads((root / "etc" / "holoscan" / "app.json").read_text(encoding="utf-8"))
        environment = {name: here(value) for name, value in manifest.get("environment", {}).items()}
        first, *words = map(here, shlex.split("" + manifest["command"]))  # of None, shlex would read standard input
        return [first, *words], environment, str(manifest.get("version"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeployError(f"{root} is no MAP folder: etc/holoscan/app.json cannot be used ({error}).") from error


@contextlib.contextmanager
def _in_place(root: Path, source: Path, output: Path, wish: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The command of a MAP folder as the manifest has it, and its environment."""
    words, settings, _ = read_command(root)
    output.mkdir(parents=True, exist_ok=True)
    if words[0] in ("python", "python3"):
        words[0] = sys.executable
    settings |= {"HOLOSCAN_INPUT_PATH": str(source), "HOLOSCAN_OUTPUT_PATH": str(output), **wish}
    # No .pyc files, or the MAP would differ after its first run.
    settings |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    yield {"command": words, "env": {**os.environ, **settings}, "cwd": root / "var" / "holoscan"}


def _outcome(returncode: int | None, seconds: float, timeout: float, output: Path, log: Path) -> Run:
    """Read what the application left, and raise if it did not end well."""
    if returncode is None:
        raise DeployError(f"The application was stopped: it had not ended after {timeout:g} s. {tail(log)}", 124)
    try:
        result = json.loads((output / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        result = {}
    if not isinstance(result, dict):  # the application need not be ours
        result = {}
    if result.get("status") == "refused":
        try:
            left = [f"{s['modality']} of {s['images']} images: {s['reason']}" for s in result["series"] if s["reason"]]
        except (KeyError, TypeError):
            left = []
        why = f" ({'; '.join(left)})" if left else ""
        raise InputRefused(f"The application refused its input: {result.get('reason')}{why}", returncode)
    if returncode != 0:
        killed = ", killed from outside, as a system does that is out of memory" * (returncode == 137)
        raise DeployError(f"The application failed with exit status {returncode}{killed}. {tail(log)}", returncode)
    return Run(returncode, round(seconds, 2), sorted(p for p in output.rglob("*") if p.is_file()), log, result)


def tail(log: Path) -> str:
    """The end of a log, for a message."""
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return f"The last lines of {log}:\n" + "\n".join(lines)
