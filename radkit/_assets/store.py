"""Bring the files of a source into the cache, every byte checked, by one process at a time."""

from __future__ import annotations

import errno
import hashlib
import shutil
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from radkit.errors import ChecksumError, DataError

from .sources import Source, cache_folder

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def ensure(source: Source, known: Iterable[Source], *, progress: bool = True) -> Path:
    """Return the folder of a source in the cache, with its files as promised; fetch its archive if one is not.

    What else of ``known`` comes in the same archive is unpacked along with it, so that the archive need not be kept.
    A message of SourceUnreachable is without advice.
    """
    if verify(source):
        part = cache_folder() / "downloads" / f"{source.archive}.part"
        with _writing(source, part):
            if verify(source):  # unless another process has just brought it
                _bring(source, known, part, progress)
    return cache_folder() / source.name


def verify(source: Source) -> list[str]:
    """Say what is wrong with the files of a source in the cache, one sentence each; none if all is well."""
    folder = cache_folder() / source.name
    if not folder.exists():
        return [f"{source.name} has not been fetched"]
    wrong = []
    for path, (_, promised) in source.files.items():
        if not (folder / path).is_file():
            wrong.append(f"{path} is missing; radkit data fetch {source.name} brings it")
        elif (found := _sha256(folder / path)) != promised:
            wrong.append(
                f"{path} was changed ({_differ(found, promised)}); radkit data fetch {source.name} replaces it"
            )
    return wrong


def _bring(source: Source, known: Iterable[Source], part: Path, progress: bool) -> None:
    """Download and check the archive, and unpack every source that comes in it."""
    from . import npm_registry, pip_index

    bring = npm_registry.bring if source.by_npm else pip_index.bring
    archive = bring(source, part, progress=progress)
    if (found := _sha256(archive)) != source.sha256:
        part.unlink(missing_ok=True)
        raise ChecksumError(
            f"{source.archive} is not the file that the catalog promises ({_differ(found, source.sha256)}) and was not "
            "used. Fetch once more; if that fails too, the index serves another file: tell whoever runs it."
        )
    for other in known:
        if other.sha256 == source.sha256 and verify(other):
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


def once(source: Source, folder: Path, make: Callable[[Path], object]) -> None:
    """Have ``make`` fill a folder, unless it is there: under another name first, so that no half of it is ever seen."""
    part = folder.with_name(f"{folder.name}.part")
    if not folder.is_dir():
        with _writing(source, part):
            if not folder.is_dir():  # unless another process was faster
                _remove(part)  # of a process that was killed
                make(part)
                part.rename(folder)


@contextmanager
def _writing(source: Source, part: Path) -> Iterator[None]:
    """Write alone, one process at a time; a full disk gets back the space that unfinished files take."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with alone(part.with_suffix(".lock")):
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
def alone(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold a lock between processes: SQLite's works on every system, and ends however its holder ends.

    Whoever has to wait for it is told so by ``waiting``.
    """
    lock = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        while not lock.in_transaction:
            try:
                lock.execute("PRAGMA journal_mode = OFF")  # nothing is written, so nothing is left behind
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise OSError(errno.EIO, f"no lock: {error}") from error
                if waiting:
                    print(waiting, flush=True)
                waiting = ""
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
