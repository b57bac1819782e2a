"""Containers: the images that are there, and the locked box that one runs in."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DeployError

TOOLS = ("docker", "podman", "buildah")
USER = 1000  # MAP 1.0: the application does not run as root
MEMORY = "8g"
LOCK = (
    "--network=none", "--read-only", "--tmpfs=/tmp:rw,nosuid,nodev,size=2g,mode=1777", "--cap-drop=all",
    "--security-opt=no-new-privileges", f"--memory={MEMORY}", f"--memory-swap={MEMORY}", "--pids-limit=512",
    "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096", "--log-driver=none", "--pull=never",
    "--env=OMP_NUM_THREADS",  # as it is set here, if it is
)  # fmt: skip


@dataclass(frozen=True)
class Image:
    """A MAP as an OCI image: its reference, the tool that keeps it, its size, and the seconds that building took."""

    reference: str
    tool: str
    size: str
    seconds: float


def ask(*command: str, timeout: float = 60) -> str | None:
    """What a short command says; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def find_image(name: object) -> Image | None:
    """The image that is meant; None for a folder."""
    if isinstance(name, Image):
        return name
    if Path(str(name)).exists():
        return None
    for tool in TOOLS:
        if size := ask(tool, "images", "--format", "{{.Size}}", str(name)):
            return Image(str(name), tool, size.splitlines()[0], 0.0)
    raise DeployError(f"{name} is no MAP folder, and docker, podman and buildah know no image of that name.")


@contextmanager
def locked_box(image: Image, source: Path, output: Path, wish: dict[str, str]) -> Iterator[dict[str, Any]]:
    """What runs the image in its box: no network, nothing writable but /tmp and the output, no rights, limits.

    The input is mounted read-only; as a copy where user 1000 may not read it as it is. At the end what was written is
    moved to the output folder.
    """
    engine, name = _engine(image.tool), f"radkit-run-{uuid.uuid4().hex[:12]}"
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent, ignore_cleanup_errors=True) as room:
        (out := Path(room, "out")).mkdir()
        options = [*LOCK, f"--user={USER}:{USER}", *(f"--env={key}={value}" for key, value in wish.items())]
        if engine[0] == "podman":
            options.append("--read-only-tmpfs=false")
        if os.geteuid() == 0:
            os.chown(out, USER, USER)
            source = _readable(source, Path(room, "in"))
        else:  # the files are to be ours
            mine = f"--user={os.geteuid()}:{os.getegid()}"
            options.append(mine if engine[0] == "docker" else f"--userns=keep-id:uid={USER},gid={USER}")
        options.append(f"--mount=type=bind,source={source},target=/var/holoscan/input,readonly")
        options.append(f"--mount=type=bind,source={out},target=/var/holoscan/output")
        command = [*engine, "run", f"--name={name}", *options, image.reference]
        clean = f"({engine[0]} kill {name}; {engine[0]} rm -f {name}) >/dev/null 2>&1"  # rm alone waits ten seconds
        yield {"command": command, "clean": clean, "room": room}
        if out.is_dir():  # it is gone after a run that was given up
            _take_out(out, output)


def _engine(tool: str) -> list[str]:
    """The command line that runs what a tool has built; buildah's images are podman's too."""
    engine = "docker" if tool == "docker" else "podman"
    if shutil.which(engine) is None:
        raise DeployError("To run an image locked down takes docker or podman. On Debian: apt-get install podman runc")
    # Where there is runc: Debian's crun fails where cgroups are half v1, half v2.
    return [engine, "--runtime=runc"] if engine == "podman" and shutil.which("runc") else [engine]


def _readable(source: Path, copy: Path) -> Path:
    """The input, or a copy of it if it holds anything that only its owner may read."""
    wanted = [(path, 0o5 if path.is_dir() else 0o4) for path in (source, *source.rglob("*"))]
    if all(path.stat().st_mode & mode == mode for path, mode in wanted):
        return source
    shutil.copytree(source, copy, copy_function=shutil.copyfile)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy


def _take_out(written: Path, output: Path) -> None:
    """Move plain files and folders, as the caller's own, and no links."""
    for path in list(written.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            path.unlink()
        elif os.geteuid() == 0:
            os.chown(path, 0, 0)
            path.chmod(path.stat().st_mode & 0o755)
    for path in written.iterdir():
        shutil.move(path, output / path.name)
