"""Containers: which tool works here, commands that leave nothing behind, and the locked box that an image runs in."""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import DeployError

USER = 1000  # MAP 1.0: the application does not run as root
MEMORY = "8g"
LOCK = (
    "--network=none", "--read-only", "--tmpfs=/tmp:rw,nosuid,nodev,size=2g,mode=1777", "--cap-drop=all",
    "--security-opt=no-new-privileges", f"--memory={MEMORY}", f"--memory-swap={MEMORY}", "--pids-limit=512",
    "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096", "--log-driver=none", "--pull=never",
    "--env=OMP_NUM_THREADS",  # as it is set here, if it is
)  # fmt: skip
# Which command line takes the lock, in the order of trying. Debian's crun fails where cgroups are half v1, half v2.
ENGINES = (["docker"], ["podman"], ["podman", "--runtime", "runc"], ["podman", "--runtime", "crun"])
# A shell around a command. Standard input closes when whoever started it gives up or dies, by whatever signal: then the
# command and all its children are killed. At every end it cleans up.
GUARD = """
clean=$1 room=$2; shift 2
exec 3<&0
$(command -v setsid) "$@" </dev/null 3<&- & child=$!
(read -r _ <&3; : >"$room/given-up"; kill -KILL -$child || kill -KILL $child) 2>/dev/null & watch=$!
wait $child; status=$?
kill $watch 2>/dev/null
eval "$clean"
if [ -e "$room/given-up" ]; then rm -rf "$room"; fi
exit $status
"""


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


def guarded(command: list[str], *, clean: str, room: Path) -> list[str]:
    """The command in a shell that kills it when our end of its standard input closes, and cleans up."""
    return ["sh", "-c", GUARD, "radkit", clean, str(room), *command]


def find_image(name: object) -> Image | None:
    """The image that is meant; None for a folder."""
    if isinstance(name, Image):
        return name
    if Path(str(name)).exists():
        return None
    for tool in ("docker", "podman", "buildah"):
        if size := ask(tool, "images", "--format", "{{.Size}}", str(name)):
            return Image(str(name), tool, size.splitlines()[0], 0.0)
    raise DeployError(f"{name} is no MAP folder, and docker, podman and buildah know no image of that name.")


@dataclass(frozen=True)
class Box:
    """One run in a locked container: the guarded command, and where its output and its end are to be found."""

    command: list[str]
    room: Path

    def end(self, output: Path) -> int | None:
        """Move what was written to the output folder; return the exit status, None if the container never ran.

        Plain files and folders come out, as the caller's own; no links.
        """
        for folder, folders, files in os.walk(self.room / "out", topdown=False):
            for path in (Path(folder, name) for name in (*files, *folders)):
                if path.is_symlink() or not (path.is_file() or path.is_dir()):
                    path.unlink()
                elif os.geteuid() == 0:
                    os.chown(path, 0, 0)
                    path.chmod(path.stat().st_mode & 0o755)
        for path in (self.room / "out").iterdir():
            shutil.move(path, output / path.name)
        said = (self.room / "status").read_text().split() if (self.room / "status").exists() else []
        return int(said[0]) if said[1:] == ["exited"] else None


@contextmanager
def locked_box(image: Image, source: Path, output: Path, environment: dict[str, str]) -> Iterator[Box]:
    """The image in its box: no network, nothing writable but /tmp and the output, no rights, limits on what it takes.

    The input is mounted read-only; as a copy where user 1000 may not read it as it is.
    """
    engine, name = _engine(image.reference, image.tool), f"radkit-run-{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent, ignore_cleanup_errors=True) as place:
        room = Path(place)
        (room / "out").mkdir()
        if os.geteuid() == 0:
            os.chown(room / "out", USER, USER)
            source = _readable(source, room / "in")
        mounts = [f"type=bind,source={source},target=/var/holoscan/input,readonly"]
        mounts.append(f"type=bind,source={room / 'out'},target=/var/holoscan/output")
        options = [
            *(f"--mount={mount}" for mount in mounts),
            *(f"--env={key}={environment[key]}" for key in environment),
        ]
        say_end = f"inspect --format '{{{{.State.ExitCode}}}} {{{{.State.Status}}}}' {name}"
        tool = " ".join(engine)
        clean = (
            f"{tool} {say_end} >{shlex.quote(str(room / 'status'))} 2>/dev/null; {tool} rm -f {name} >/dev/null 2>&1"
        )
        command = [*engine, "run", f"--name={name}", *_lock(engine), *options, image.reference]
        yield Box(guarded(command, clean=clean, room=room), room)


def _lock(engine: list[str]) -> list[str]:
    """The lock, and who the application is: user 1000; where we are not root, such that its files are ours."""
    if os.geteuid() == 0:
        who = [f"--user={USER}:{USER}"]
    elif engine[0] == "podman":
        who = [f"--user={USER}:{USER}", f"--userns=keep-id:uid={USER},gid={USER}"]
    else:
        who = [f"--user={os.geteuid()}:{os.getegid()}"]
    return [*LOCK, *who, *(["--read-only-tmpfs=false"] if engine[0] == "podman" else [])]


@functools.lru_cache
def _engine(reference: str, tool: str) -> list[str]:
    """The first command line that starts this image under the lock."""
    said = []
    for engine in ENGINES:
        if shutil.which(engine[0]) and (engine[0] == "docker") == (tool == "docker"):
            trial = [*engine, "run", "--rm", *_lock(engine), "--entrypoint=/bin/true", reference]
            done = subprocess.run(trial, capture_output=True, text=True, timeout=120)
            if done.returncode == 0:
                return engine
            said.append(f"{' '.join(engine)}: {done.stderr.strip()[-300:]}")
    if not said:
        raise DeployError("To run an image locked down takes docker or podman. On Debian: apt-get install podman runc")
    raise DeployError("No container can be locked down on this machine:\n" + "\n".join(said))


def _readable(source: Path, copy: Path) -> Path:
    """The input, or a copy of it if it holds anything that only its owner may read."""
    wanted = [(path, 0o5 if path.is_dir() else 0o4) for path in (source, *source.rglob("*"))]
    if all(path.stat().st_mode & mode == mode for path, mode in wanted):
        return source
    shutil.copytree(source, copy, copy_function=shutil.copyfile)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy
