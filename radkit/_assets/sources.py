"""Files out of archives on a package index, pinned by version and sha256: which, and what may be done with them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from radkit.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
# Names become paths in the cache, so each part starts with a letter or digit: no "..", no absolute path, no drive.
_PART = r"[A-Za-z0-9][\w.+-]*"


@dataclass(frozen=True)
class Source:
    """One entry of the catalog: some files of one pinned archive on a package index, pip's or npm's."""

    name: str  # what it is fetched by
    title: str  # what a picture of it is labelled with
    shows: str  # what there is to see, as a radiologist would report it; of a part of the program, what it is for
    package: str
    version: str
    archive: str  # its file name on the index page of the package, or the one that ``npm pack`` gives it
    size: int  # of the archive, bytes
    sha256: str  # of the archive
    licence: str  # what may be done with it
    attribution: str  # whom to name
    files: dict[str, tuple[str, str]]  # path in the cache to (member of the archive, sha256 of that member)

    @property
    def by_npm(self) -> bool:
        """Whether it is on npm's registry, whose archives alone end in ``.tgz``; else it is on pip's index."""
        return self.archive.endswith(".tgz")

    @property
    def remedy(self) -> str:
        """What to do where its index cannot be reached."""
        return f"Name an index that this machine reaches in {'NPM_CONFIG_REGISTRY' if self.by_npm else 'PIP_INDEX_URL'}"


def read_sources(path: Path) -> dict[str, Source]:
    """Read a list of sources, in the order of the file; a DataError names the entry and the field that is wrong."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not YAML: {error}") from error
    return {str(name): _source(str(name), entry) for name, entry in (entries or {}).items()}


def find(name: str, known: Mapping[str, Source], what: str) -> Source:
    """Return one of the sources, or raise a DataError that lists the names there are."""
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise DataError(f"{what} has no source {name!r}.{hint} It has: {', '.join(known)}.")


def cache_folder() -> Path:
    """Return the cache: ``RADKIT_CACHE``, else ``data/cache`` of a checkout, else the user's cache folder."""
    if named := os.environ.get("RADKIT_CACHE"):
        return Path(named).expanduser().absolute()
    if (ROOT / "data" / "catalog.yaml").is_file():
        return ROOT / "data" / "cache"
    from platformdirs import user_cache_path

    return user_cache_path("radkit")


def _source(name: str, entry: Any) -> Source:
    """Check one entry: fetching trusts it afterwards."""
    wanted = {field.name for field in fields(Source)} - {"name"}
    found = set(entry) if isinstance(entry, dict) else set()
    if wrong := wanted ^ found:
        raise DataError(
            f"Catalog entry {name!r}: a source has the fields {', '.join(sorted(wanted))}; "
            f"missing or unknown: {', '.join(sorted(map(str, wrong)))}."
        )
    try:
        files = {str(path): (str(file["member"]), str(file["sha256"])) for path, file in entry["files"].items()}
        size = int(entry["size"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"Catalog entry {name!r}: size is a number of bytes, and files maps each path to a member and its sha256 "
            f"({type(error).__name__}: {error})."
        ) from error
    for path in (name, str(entry["archive"]), *files):
        if not re.fullmatch(f"{_PART}(/{_PART})*", path):
            raise DataError(f"Catalog entry {name!r}: {path!r} is not a plain relative path inside the cache.")
    for checksum in (str(entry["sha256"]), *(checksum for _, checksum in files.values())):
        if not re.fullmatch("[0-9a-f]{64}", checksum):
            raise DataError(f"Catalog entry {name!r}: {checksum!r} is not a sha256 (64 hexadecimal digits).")
    text = {key: str(value) for key, value in entry.items() if key not in ("size", "files")}
    return Source(name=name, size=size, files=files, **text)
