"""Fetch a source of the catalog into the cache, every byte checked, or its generated stand-in."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
import warnings
import zipfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..errors import ChecksumError, DataError, SourceUnreachable
from .sources import Source, cache_folder, catalog, find_source

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ADVICE = (
    "Name an index that this machine reaches in PIP_INDEX_URL, or work with the generated stand-in: "
    "fetch({name!r}, stand_in=True), or RADKIT_STAND_INS=1 for all of them."
)


@dataclass(frozen=True)
class Fetched:
    """A source as it lies in the cache, ready to be read.

    Attributes
    ----------
    name : str
        Its name in the catalog.
    folder : Path
        Where it lies.
    files : dict of str to Path
        Its files by key: ``image``, ``labels``, ``names``, and ``series``, a folder of DICOM files.
    stand_in : bool
        Whether it was generated, in place of the real one.
    title : str
        What a picture of it is labelled with; a stand-in's says that it is one.
    attribution, licence : str
        Whom to name, and what may be done with it.
    """

    name: str
    folder: Path
    files: dict[str, Path]
    stand_in: bool
    title: str
    attribution: str
    licence: str


def fetch(name: str, *, stand_in: bool | None = None, progress: bool = True) -> Fetched:
    """Get a source of the catalog: from the cache, from the package index, or as a generated stand-in.

    Parameters
    ----------
    name : str
        A name of :func:`catalog`.
    stand_in : bool, optional
        True: the stand-in. False: the real one or an error. Default: the real one, and with a warning the stand-in
        where the index cannot be reached; with ``RADKIT_STAND_INS=1`` in the environment, always the stand-in.
    progress : bool
        Show a progress bar while downloading.

    Returns
    -------
    Fetched
        Where its files are, each with the sha256 that the catalog promises.

    Raises
    ------
    ChecksumError
        If what the index sent is not what the catalog promises; it is deleted.
    SourceUnreachable
        If the real one was demanded and no index answers or holds it.
    DataError
        If there is no such source, or the cache cannot be written (disk full).
    """
    source = find_source(name)
    if stand_in is None and os.environ.get("RADKIT_STAND_INS", "0") not in ("", "0"):
        stand_in = True
    if stand_in:
        return _generate(source)
    try:
        return _fetch(source, progress)
    except SourceUnreachable as error:
        if stand_in is False:
            raise SourceUnreachable(f"{error}. {_ADVICE.format(name=name)}") from error
        warnings.warn(f"Using a generated stand-in for {name!r}: {error}.", stacklevel=2)
        return _generate(source)


def verify(name: str) -> list[str]:
    """Compare what the cache holds of a source with the catalog; say what is wrong, one sentence each (none: all well).

    Raises
    ------
    DataError
        If there is no such source.
    """
    source = find_source(name)
    folder = cache_folder() / name
    if not folder.exists():
        return [f"{name} has not been fetched"]
    wrong = []
    for path, (_, promised) in source.files.items():
        if not (folder / path).is_file():
            wrong.append(f"{path} is missing; fetch({name!r}) brings it")
        elif (found := _sha256(folder / path)) != promised:
            wrong.append(f"{path} was changed ({_differ(found, promised)}); fetch({name!r}) replaces it")
    return wrong


def _fetch(source: Source, progress: bool) -> Fetched:
    if verify(source.name):
        part = cache_folder() / "downloads" / f"{source.archive}.part"
        with _writing(source, part):
            if verify(source.name):  # unless another process has just brought it
                _bring(source, part, progress)
    folder = cache_folder() / source.name
    # The key of a file is what stands before the first dot or slash; several files make a folder.
    files = {re.split("[./]", path)[0]: folder / path.partition("/")[0] for path in source.files}
    return Fetched(source.name, folder, files, False, source.title, source.attribution, source.licence)


def _bring(source: Source, part: Path, progress: bool) -> None:
    """Download and check the archive, and unpack every source that comes in it, so that it need not be kept."""
    from .download import bring

    archive = bring(source, part, progress=progress)
    if (found := _sha256(archive)) != source.sha256:
        part.unlink(missing_ok=True)
        raise ChecksumError(
            f"{source.archive} is not the file that the catalog promises ({_differ(found, source.sha256)}) and was not "
            "used. Fetch once more; if that fails too, the index serves another file: tell whoever runs it."
        )
    for other in catalog().values():
        if other.sha256 == source.sha256 and verify(other.name):
            _unpack(archive, other)
    part.unlink(missing_ok=True)


def _unpack(archive: Path, source: Source) -> None:
    """Unpack the members that ``source`` names, and nothing else, each checked before it gets its final name."""
    wanted = {member: (path, promised) for path, (member, promised) in source.files.items()}
    for member, stream in _open_members(archive, wanted):
        path, promised = wanted.pop(member)
        target = cache_folder() / source.name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        with part.open("wb") as file:
            shutil.copyfileobj(stream, file, 1 << 20)
        if (found := _sha256(part)) != promised:
            part.unlink()
            raise ChecksumError(
                f"{member} is not what its entry promises ({_differ(found, promised)}): mend the entry."
            )
        part.replace(target)
    if wanted:
        raise DataError(f"{source.archive} holds no file {', '.join(wanted)}: mend the entry {source.name!r}.")


def _open_members(archive: Path, names: Container[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Open those of ``names`` that are plain files in the archive; no name in the archive ever becomes a path."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as wheel:
            for name in filter(names.__contains__, wheel.namelist()):
                with wheel.open(name) as stream:
                    yield name, stream
    else:
        with tarfile.open(archive) as sdist:
            for info in sdist:
                if info.name in names and info.isreg() and (content := sdist.extractfile(info)):
                    yield info.name, content


def _generate(source: Source) -> Fetched:
    """Build the stand-in, or take it from the cache if this version of the generator has built it before."""
    from . import standins

    folder = cache_folder() / "stand-ins" / f"{source.name}-{standins.VERSION}"
    part = folder.with_name(f"{folder.name}.part")
    if not folder.exists():
        with _writing(source, part):
            if not folder.exists():
                _remove(part)  # of a process that was killed
                part.mkdir()
                built = standins.build(source.name, part)
                paths = {key: path.relative_to(part).as_posix() for key, path in built.items()}
                (part / "files.json").write_text(json.dumps(paths), encoding="utf-8")
                part.rename(folder)
    files = {key: folder / path for key, path in json.loads((folder / "files.json").read_text("utf-8")).items()}
    return Fetched(
        name=source.name,
        folder=folder,
        files=files,
        stand_in=True,
        title=f"STAND-IN (generated): {source.title}",
        attribution="Generated by radkit from known shapes; no patient.",
        licence="Apache-2.0",
    )


@contextmanager
def _writing(source: Source, part: Path) -> Iterator[None]:
    """Write alone, one process at a time; a full disk gets back the space that unfinished files take."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part.with_suffix(".lock")):
            try:
                yield
            except OSError as error:
                if error.errno in _FULL:
                    for left in (part, *(cache_folder() / source.name).rglob("*.part")):
                        _remove(left)
                raise
    except OSError as error:
        if error.errno in _FULL:
            room = f"{source.name} needs about {2 * source.size / 1e6:.0f} MB. Make room"
            raise DataError(f"No room in {cache_folder()}: {room}, or name another folder in RADKIT_CACHE.") from error
        raise DataError(
            f"Cannot use the cache {cache_folder()} ({error.strerror or error}). "
            "Name a folder that you may write to in RADKIT_CACHE."
        ) from error


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock between processes: SQLite's works on every system, and ends however its holder ends."""
    lock = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        while not lock.in_transaction:
            try:
                lock.execute("PRAGMA journal_mode = OFF")  # nothing is written, so nothing is left behind
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise OSError(errno.EIO, f"no lock: {error}") from error
        yield
    finally:
        lock.close()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _differ(found: str, promised: str) -> str:
    return f"its sha256 begins {found[:12]}, the catalog's {promised[:12]}"
