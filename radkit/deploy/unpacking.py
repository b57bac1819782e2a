"""What a MAP holds, read without unpacking it: a folder, an OCI image layout or a docker archive."""

from __future__ import annotations

import gzip
import json
import os
import posixpath
import re
import shlex
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from string import Template
from typing import IO, Any, NamedTuple

MIB = 2**20
MOST_BYTES, MOST_FILES = 64 * 1024 * MIB, 500_000  # of one layer unpacked, and of all layers
# Whose text is looked at: the MAP's own folders, what lies at the top, in /tmp and in a home, and its keys.
READ = re.compile(r"(etc|opt|var)/(holoscan|monai)/|((tmp|root|home/[^/]+)/(\.(ssh|aws|docker)/)?)?[^/]*$")


class File(NamedTuple):
    """A file of a MAP: its data only if it is small and looked into, and where it leads if it is a symbolic link."""

    mode: int
    data: bytes = b""
    link: str = ""


@dataclass
class Contents:
    """Files by their path in the image, the image's configuration (None: not known), and what was wrong on the way."""

    files: dict[str, File] = field(default_factory=dict)
    config: dict[str, Any] | None = None
    wrong: list[tuple[str, str]] = field(default_factory=list)
    room: int = 256 * MIB  # for what is still to be looked at

    def wants(self, name: str, size: int) -> bool:
        """Whether the text of a file is to be read: it counts as read then."""
        wanted = size <= min(MIB, self.room) and READ.match(name) is not None
        self.room -= size * wanted
        return wanted


def read_contents(path: Path, into: Contents) -> None:
    """Fill ``into`` with what is at ``path``; whatever hostile bytes do to gzip, tar and JSON is raised."""
    if not path.is_dir():
        with tarfile.open(path, "r:") as archive:
            members: Any = archive.extractfile  # None for what is no file, which the caller's `with` refuses
            _read_image(members, "index.json" in archive.getnames(), into)
    elif (path / "index.json").is_file():
        _read_image(lambda name: _open_file(path / name), True, into)
    else:
        _read_folder(path, into)


def _read_folder(root: Path, into: Contents) -> None:
    for file in root.rglob("*"):
        name, state = file.relative_to(root).as_posix(), file.lstat()
        if file.is_symlink():
            into.files[name] = File(state.st_mode, link=os.readlink(file))  # noqa: PTH115 as it is written
        elif file.is_file():
            into.files[name] = File(state.st_mode, file.read_bytes() if into.wants(name, state.st_size) else b"")
        elif not file.is_dir():
            into.wrong.append((name, "neither a file nor a folder nor a link"))
    if recipe := into.files.get("Dockerfile"):
        into.config = _read_dockerfile(recipe.data.decode("utf-8", "replace"))


def _read_dockerfile(text: str) -> dict[str, Any]:
    """The configuration that the Dockerfile gives the last image it makes; From: the images that it starts from."""
    config: dict[str, Any] = {"Labels": {}, "Env": [], "From": [], "User": ""}
    known: dict[str, str] = {"": ""}  # the arguments, and the names of the stages
    for line in re.sub(r"\\\s*\n", " ", re.sub(r"(?m)^\s*#.*\n", "", text)).splitlines():
        word, _, rest = line.strip().partition(" ")
        rest = Template(rest.strip()).safe_substitute(known)
        if word == "FROM":
            image, *name = [part for part in rest.split() if not part.startswith("--")]
            config["From"] += [image] if image not in (*known, "scratch") else []
            known |= dict.fromkeys(name[1:], "")
        elif word in ("ARG", "LABEL", "ENV"):
            pairs = [part for part in shlex.split(rest) if "=" in part]
            if word == "ENV":
                config["Env"] += pairs
            else:
                (known if word == "ARG" else config["Labels"]).update(dict(pair.split("=", 1) for pair in pairs))
        elif word in ("USER", "ENTRYPOINT", "CMD"):
            config[word.capitalize()] = json.loads(rest) if rest.startswith("[") else rest
    return config


def _read_image(opened: Callable[[str], IO[bytes]], oci: bool, into: Contents) -> None:
    """Read the configuration and, layer upon layer, the files of the first image (OCI image-spec 1.0)."""

    def document(name: str) -> Any:
        with opened(name) as stream:
            return json.loads(stream.read(4 * MIB))

    if oci:
        found = document("index.json")
        for _ in range(8):  # an index of indexes is allowed, but not one that leads back to itself
            found = document(_blob(found["manifests"][0])) if "manifests" in found else found
        config, layers = _blob(found["config"]), [_blob(layer) for layer in found["layers"]]
    else:
        found = document("manifest.json")[0]
        config, layers = found["Config"], found["Layers"]
    into.config = {"User": "", "Labels": {}} | {k: v for k, v in document(config)["config"].items() if v is not None}
    for name in layers:
        with opened(name) as stream:
            _read_layer(stream, into)


def _open_file(path: Path) -> IO[bytes]:
    if not path.is_file():  # a pipe would never end
        raise ValueError(f"{path.name} is no file")
    return path.open("rb")


def _blob(described: dict[str, str]) -> str:
    """Where an OCI layout keeps a blob; a digest that is none could lead anywhere."""
    if not re.fullmatch(r"[a-z0-9]+:[0-9a-f]{32,128}", digest := described["digest"]):
        raise ValueError(f"{digest[:80]} is no digest")
    return "blobs/" + digest.replace(":", "/")


class _Bounded(gzip.GzipFile):
    """A layer that says stop: a few kilobytes can unpack to terabytes, and a header ask for as much memory."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= 16 * MIB or self.tell() > MOST_BYTES:
            raise ValueError("a layer has a header of more than 16 MiB, or unpacks to more than 64 GiB")
        return super().read(size)


def _read_layer(stream: IO[bytes], into: Contents) -> None:
    """Lay one layer over those below; ``.wh.`` files take away what lies there."""
    packed = stream.read(2) == b"\x1f\x8b"  # anything else must be a plain tar: zstd is not read here
    stream.seek(0)
    new: dict[str, File] = {}
    gone: set[str] = set()
    plain = _Bounded(fileobj=stream) if packed else stream
    with tarfile.open(fileobj=plain, mode="r:") as layer:
        for member in layer:
            layer.members = []  # type: ignore[attr-defined]  # or the headers of a million files stay in memory
            name, target = (posixpath.normpath(path).lstrip("/") for path in (member.name, member.linkname))
            folder, base = posixpath.split(name)
            if ".." in member.name.split("/"):
                into.wrong.append((member.name, "a name in a layer that climbs out of it by ../"))
            elif base.startswith(".wh."):
                gone.add(folder if base == ".wh..wh..opq" else posixpath.join(folder, base[4:]))
            elif member.islnk():
                new[name] = new.get(target) or into.files.get(target) or File(member.mode)
            elif member.issym():
                new[name] = File(member.mode, link=member.linkname)
            elif member.isfile():
                content = layer.extractfile(member) if into.wants(name, member.size) else None
                new[name] = File(member.mode, content.read() if content else b"")
            if len(new) + len(into.files) > MOST_FILES:
                raise ValueError(f"there are more than {MOST_FILES:,} files")
    gone |= set(new)
    kept = {p: f for p, f in into.files.items() if gone.isdisjoint([p, *map(str, PurePosixPath(p).parents)])}
    into.files = kept | new
