"""Build the OCI image of a MAP folder: with docker, podman, or buildah, which needs no daemon.

Two images: the packages that the requirements name, kept under a name of their own, since they change seldom and take
minutes; and on top of them the MAP, which takes seconds. The settings of this machine's pip reach the build as
secrets and mounts: none of them is left in the image.
"""

from __future__ import annotations

import ast
import hashlib
import re
import shlex
import shutil
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from .._assets.sources import cache_folder
from .._assets.store import alone
from ..errors import DeployError
from .box import TOOLS, Image, ask
from .runner import read_command, run_child, tail

# Where pip looks and how it gets there; its other settings are for this machine alone.
PIP = ("index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "proxy", "cert", "timeout")
# Debian's smallest system with pip, from the mirror that this machine uses, in a mount space that vanishes with it.
DEBIAN = """set -e
unshare --mount debootstrap --variant=minbase --include=python3,python3-pip {codename} {room}/root {mirror}
cd {room}/root
rm -rf etc/apt/sources.list* var/cache/apt/* var/lib/apt/lists/* var/log/* usr/share/man
rm -f usr/lib/python3*/EXTERNALLY-MANAGED
for site in usr/local/lib/python3*/dist-packages; do ln -s /usr/lib/python3/dist-packages/pip $site/pip; done
tar -cf ../base.tar --exclude=./dev/* .
mv ../base.tar ../../{codename}.tar
"""


def build_image(
    map_folder: str | Path,
    *,
    tool: str | None = None,
    tag: str | None = None,
    base: str | None = None,
    progress: bool = True,
) -> Image:
    """Build the image of a MAP folder from its Dockerfile and its requirements.

    Parameters
    ----------
    map_folder : path
        From `build_map`. The log of the build goes beside it, with ``.image.log`` after its name.
    tool : {"docker", "podman", "buildah"}, optional
        The first of them that works here.
    tag : str, optional
        Name of the image; "localhost/", the folder's name and the version in its manifest.
    base : str, optional
        Image with Python and pip to build upon. That of the Dockerfile; where no registry can be reached, one made of
        packages of this machine's Debian, for which it takes root and debootstrap. It is kept in radkit's cache.
    progress : bool
        Say what the build is doing, once it takes more than two seconds.

    Returns
    -------
    Image

    Raises
    ------
    DeployError
        If this is no MAP folder, no tool works, there is no base, or the build fails. The image appears whole or not
        at all, also if the build is interrupted or killed.
    """
    root, start = Path(map_folder).absolute(), time.monotonic()
    *_, version = read_command(root)
    slug = re.sub(r"[^a-z0-9]+", "-", root.name.lower()).strip("-") or "map"
    tag, log = tag or f"localhost/{slug}:{version}", root.with_name(f"{root.name}.image.log")
    lower, _, upper = (root / "Dockerfile").read_text(encoding="utf-8").partition("FROM packages\n")
    if not ((default := re.match(r"ARG BASE=(\S+)", lower)) and upper):
        raise DeployError(f"{root / 'Dockerfile'} is none of build_map's, with a stage of packages: build it by hand.")
    images = cache_folder() / "images"
    images.mkdir(parents=True, exist_ok=True)
    waiting = "Another image is being built on this machine: waiting for its end." * progress
    with (
        alone(images / "lock", waiting),  # two would make the same packages twice
        tempfile.TemporaryDirectory(dir=images, ignore_cleanup_errors=True) as room,
    ):
        log.write_bytes(b"")
        build = _Builder(_tool(tool), root, Path(room), log, progress)
        packages = build.packages(build.base(base, default[1]), lower)
        build.make("ARG BASE\nFROM ${BASE}\n" + upper, packages, tag)
        size = ask(build.tool, "images", "--format", "{{.Size}}", tag) or ""
    return Image(tag, build.tool, size, round(time.monotonic() - start, 1))


@dataclass(frozen=True)
class _Builder:
    """One build: every step is killed with all its children, and its containers removed, when we end."""

    tool: str
    root: Path
    room: Path
    log: Path
    progress: bool
    name: str = field(default_factory=lambda: f"radkit-build-{uuid.uuid4().hex[:12]}")

    def do(self, *command: str) -> None:
        """One step. The working containers are known by the name of what they were made from, which is ours alone."""
        listing, force = {"buildah": ("containers -q", "")}.get(self.tool, ("ps -aq", " -f"))
        listing += " --external" * (self.tool == "podman") + f" --filter name={self.name}"
        clean = f"{self.tool} {listing} | xargs -r {self.tool} rm{force}; {self.tool} rmi {self.name}"
        clean = f"({clean}) >/dev/null 2>&1"
        title = "The image: " * self.progress
        if status := run_child(list(command), self.log, title=title, clean=clean, room=str(self.room)):
            full = "The disk is full. " * ("no space left" in self.log.read_text(errors="replace").lower())
            raise DeployError(f"{full}The image could not be built (exit status {status}). {tail(self.log)}")

    def make(self, recipe: str, base: str, tag: str, *options: str) -> None:
        """Build one image upon another."""
        file, name = self.room / "Dockerfile", f"localhost/{self.name}"
        file.write_text(recipe, encoding="utf-8")
        if self.tool != "docker":
            options = ("--isolation=chroot", "--network=host", "--format=oci", "--layers=false", *options)
        ask(self.tool, "tag", base, name)
        options = (f"--file={file}", f"--tag={tag}", f"--build-arg=BASE={name}", *options)
        self.do(self.tool, "build", *options, str(self.root))

    def known(self, image: str) -> str:
        """The number of an image that is in the tool's store, else nothing."""
        return ask(self.tool, "images", "-q", "--no-trunc", image) or ""

    def packages(self, base: str, recipe: str) -> str:
        """The image of the packages: from the store if it was made of the same base, recipe and requirements before."""
        made_of = self.known(base) + recipe + (self.root / "requirements.txt").read_text(encoding="utf-8")
        image = f"localhost/radkit-packages:{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
        if not self.known(image):
            self.make(recipe, base, image, *_pip_settings(self.room, self.tool != "docker"))
        return image

    def base(self, wanted: str | None, default: str) -> str:
        """The base that is asked for; or the usual one, or that of packages of this machine's Debian."""
        codename = ask("sh", "-c", ". /etc/os-release && echo $VERSION_CODENAME") or "none"
        own, tar = f"localhost/radkit-base:{codename}", self.room.parent / f"{codename}.tar"
        for image in [wanted] if wanted else [default, own]:
            if self.known(image):
                return image
        if ask(self.tool, "pull", wanted or default, timeout=300) is not None:
            return wanted or default
        if wanted:
            raise DeployError(f"The base {wanted} is not in {self.tool}'s store and cannot be pulled.")
        if not tar.is_file():
            script = DEBIAN.format(codename=codename, room=shlex.quote(str(self.room)), mirror=_mirror(codename))
            self.do("sh", "-c", script)
        words = f"{self.tool} import {shlex.quote(str(tar))} {own}"
        if self.tool == "buildah":
            words = f"buildah from --name {self.name} scratch && buildah add {self.name} {shlex.quote(str(tar))} /"
            words += f" && buildah commit {self.name} {own}"
        self.do("sh", "-c", words)
        return own


def _tool(wanted: str | None) -> str:
    """The tool that is asked for, or the first that works."""
    for tool in TOOLS:
        if wanted in (None, tool) and ask(tool, "info") is not None:
            return tool
    raise DeployError(
        f"{wanted or 'None of docker, podman and buildah'} is not there or does not work: no image can be built. "
        "On Debian, as root: apt-get install buildah podman runc debootstrap"
    )


def _mirror(codename: str) -> str:
    """The mirror of this machine's Debian."""
    said = ask("apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages")
    mirrors = re.findall(rf"^{codename} main (\S+)$", said or "", re.MULTILINE)
    if not (mirrors and shutil.which("debootstrap", path="/usr/sbin:/usr/bin") and ask("id", "-u") == "0"):
        raise DeployError(
            "There is no base for the image: no registry can be reached, and making one takes Debian, root and "
            "debootstrap. Name a base that this machine has: base=..."
        )
    return mirrors[0]


def _pip_settings(room: Path, mounts: bool) -> list[str]:
    """Options that lend the settings of this machine's pip to the build, with the folders and files that they name."""
    said = ask(sys.executable, "-m", "pip", "config", "list") or ""
    pairs = re.findall(r"^\S*?([a-z][a-z-]*)=(['\"].*)$", said, re.MULTILINE)  # the environment's come last, and win
    settings = {name: ast.literal_eval(value) for name, value in pairs if name in PIP}
    options = [f"--secret=id=pip,src={room / 'pip.conf'}"]
    if certificates := settings.pop("cert", ""):
        options.append(f"--secret=id=ca,src={certificates}")
        settings["cert"] = "/run/secrets/ca"
    places = " ".join(settings.get(name, "") for name in ("index-url", "extra-index-url", "find-links"))
    lines = "\n".join(f"{name} = {' '.join(value.split())}" for name, value in settings.items())
    for word in places.split() if mounts else ():
        here = Path(word.removeprefix("file://"))
        if here.is_dir():
            top = here.parent if word.startswith("file://") else here  # an index's files lie beside its pages
            there = f"/run/pip/{hashlib.sha256(bytes(top)).hexdigest()[:8]}"
            options.append(f"--volume={top}:{there}:ro")
            lines = lines.replace(str(top), there)
    (room / "pip.conf").write_text(f"[global]\n{lines}\n", encoding="utf-8")
    return options
