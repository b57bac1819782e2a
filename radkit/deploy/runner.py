"""Run a MAP: a folder in place, its command as a child process; an image in a locked container."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import DeployError, InputRefused
from .box import Image, find_image, locked_box

MARK = "[radkit] "  # how the application says in its log what it is doing
STARTER = "RADKIT_STARTER"  # tells the application that its standard input closes when its starter is gone
POLL_S = 0.05
QUIET_S = 2.0
LAST_LINES = 15


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
    if image is None:
        assert not isinstance(map_folder, Image)
        root = Path(map_folder).absolute()
        command, environment = _order(root, source, output)
    if not source.is_dir():
        raise DeployError(f"The input folder {source} is not there.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DeployError(
            f"The output folder {output} is not empty: a run wants a new one, so that nothing is mixed up."
        )
    output.mkdir(parents=True, exist_ok=True)
    log = output.with_name(f"{output.name}.log")
    log.write_bytes(b"")
    start = time.monotonic()
    if image is None:
        status = run_child(
            command, log, timeout=timeout, progress=progress, cwd=root / "var" / "holoscan", env={**environment, **wish}
        )
    else:
        with locked_box(image, source, output, wish) as box:
            status = run_child(box.command, log, timeout=timeout, progress=progress, guarded=True)
            if status is not None:
                status = box.end(output)
                if status is None:
                    raise DeployError(f"The container of {image.reference} did not start. {tail(log)}")
    return _outcome(status, time.monotonic() - start, timeout, output, log)


def run_child(
    command: list[str],
    log: Path,
    *,
    timeout: float = 0,
    progress: bool,
    guarded: bool = False,
    saying: Callable[[Path], str] | None = None,
    **where: Any,
) -> int | None:
    """Run a command with its words in the log; its exit status, None if it had to be killed.

    A guarded command (`box.guarded`) cleans up after itself once its standard input closes; another is killed.
    """
    with log.open("ab") as stream:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # closes when we die, and the application ends
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, that can be killed as one
            **where,
        )
        try:
            _watch(
                child,
                log,
                time.monotonic() + timeout if timeout else float("inf"),
                (saying or _last_step) if progress else None,
            )
        finally:
            status = _end(child, guarded)
    return status


def _order(root: Path, source: Path, output: Path) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of the manifest, with the MAP's folder put before the paths of the image."""
    try:
        manifest = json.loads((root / "etc" / "holoscan" / "app.json").read_text(encoding="utf-8"))
        command, settings = shlex.split(manifest["command"]), manifest.get("environment", {})
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DeployError(f"{root} is no MAP folder: etc/holoscan/app.json cannot be used ({error}).") from error
    here = {name: _inside(root, value) for name, value in settings.items()}
    here |= {"HOLOSCAN_INPUT_PATH": str(source), "HOLOSCAN_OUTPUT_PATH": str(output), STARTER: str(os.getpid())}
    python = [sys.executable] if command[0] in ("python", "python3") else [_inside(root, command[0])]
    # No .pyc files, or the MAP would differ after its first run.
    environment = {**os.environ, **here, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    return [*python, *(_inside(root, word) for word in command[1:])], environment


def _inside(root: Path, value: str) -> str:
    """Where a path of the image lies in the folder."""
    top = value.split("/")[1:3]
    return str(root / value.lstrip("/")) if len(top) == 2 and top[1] == "holoscan" else value


def _watch(child: subprocess.Popen[bytes], log: Path, deadline: float, saying: Callable[[Path], str] | None) -> None:
    """Wait for the end or the deadline; after two seconds show which step the application says it is at."""
    bar, shown_from = None, time.monotonic() + QUIET_S
    try:
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
            if saying and time.monotonic() > shown_from:
                if bar is None:
                    bar = tqdm(bar_format="{desc} {elapsed}", leave=False, file=sys.stdout)
                bar.set_description_str(saying(log))
                shown_from = time.monotonic() + 0.5
    finally:
        if bar is not None:
            bar.close()


def _end(child: subprocess.Popen[bytes], guarded: bool) -> int | None:
    """Kill what is left of the child and of all that it started; None if the child itself had to be killed."""
    ended = child.poll()
    assert child.stdin is not None
    if guarded:
        child.stdin.close()
    elif hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    elif ended is None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(child.pid)], capture_output=True)
    child.wait()
    child.stdin.close()
    return ended


def _outcome(returncode: int | None, seconds: float, timeout: float, output: Path, log: Path) -> Run:
    """Read what the application left, and raise if it did not end well."""
    if returncode is None:
        raise DeployError(f"The application was stopped: it had not ended after {timeout:g} s. {tail(log)}", 124)
    try:
        result = json.loads((output / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        result = {}
    if result.get("status") == "refused":
        why = f"The application refused its input: {result['reason']} {_refusals(result)}".rstrip()
        raise InputRefused(why, returncode)
    if returncode != 0:
        killed = ", killed from outside, as a system does that is out of memory" * (returncode in (-9, 137))
        status = returncode if returncode >= 0 else 128 - returncode
        raise DeployError(f"The application failed with exit status {returncode}{killed}. {tail(log)}", status)
    return Run(returncode, round(seconds, 2), sorted(p for p in output.rglob("*") if p.is_file()), log, result)


def _refusals(result: dict[str, Any]) -> str:
    """Series by series, why it was not taken."""
    left = [f"{s['modality']} of {s['images']} images: {s['reason']}" for s in result["series"] if s["reason"]]
    return f"({'; '.join(left)})" if left else ""


def _last_step(log: Path) -> str:
    steps = [line for line in log.read_text(errors="replace").splitlines() if line.startswith(MARK)]
    return "The application: " + (steps[-1].removeprefix(MARK) if steps else "starting")


def tail(log: Path) -> str:
    """The end of a log, for a message."""
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return f"The last lines of {log}:\n" + "\n".join(lines)
